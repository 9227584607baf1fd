package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// onStore makes a command that works on the database alone.
func (s *settings) onStore(use, short string, args cobra.PositionalArgs,
	do func(ctx context.Context, out io.Writer, store *postgres.Store, args []string) error,
) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		if err := s.need(false, true); err != nil {
			return err
		}
		pool, err := openPool(cmd.Context(), s.databaseURL)
		if err != nil {
			return err
		}
		defer pool.Close()
		store, err := openStore(cmd.Context(), pool, defaultTerms)
		if err != nil {
			return err
		}
		return do(cmd.Context(), cmd.OutOrStdout(), store, args)
	}}
}

// answerCommand enters what the provider has told a person about a payment that is unclear.
func answerCommand(s *settings) *cobra.Command {
	return s.onStore("answer ORDER captured CHARGE | answer ORDER declined", "Say what the provider has answered about the payment of an order", cobra.RangeArgs(2, 3),
		func(ctx context.Context, out io.Writer, store *postgres.Store, args []string) error {
			order, says := args[0], args[1]
			var changes []versioning.Change
			switch {
			case says == "captured" && len(args) == 3:
				changes = both(PaymentCaptured, Captured{Charge: args[2]})
			case says == "declined" && len(args) == 2:
				changes = both(PaymentDeclined, nil)
			default:
				return fmt.Errorf("the answer is %q; say captured with the ID of the charge, or declined", args[1:])
			}
			for i := range changes {
				changes[i].Key = order
			}
			o, err := store.Do(ctx, changes...)
			switch {
			case err != nil:
				return err
			case o.Verdict != versioning.Applied:
				return fmt.Errorf("%s (%s): %s", o.Verdict, o.Reason, o.Detail)
			}
			_, err = fmt.Fprintln(out, "applied")
			return err
		})
}
