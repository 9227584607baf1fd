package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A withdrawer is the command withdraw.
type withdrawer struct {
	*Config

	database database
}

func withdrawCommand(cfg *Config) *cobra.Command {
	w := &withdrawer{Config: cfg}
	cmd := &cobra.Command{
		Use:   "withdraw machine version",
		Short: "Give up a version of a machine after its workers were replaced by older ones",
		Long: `Give up a version of a machine after its workers were replaced by older ones.

The older workers no longer keep records for the version, and judge those that
wait for it. Rows in states that only the version knows keep them from
starting. A worker that starts with the version again takes it back. The exit
status is 2 after an error.`,
		Example: "  withdraw order 3",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return w.run(cmd.Context(), cmd.OutOrStdout(), args[0], args[1])
		},
	}
	w.database.flag(cmd)
	return cmd
}

func (w *withdrawer) run(ctx context.Context, out io.Writer, machine, version string) error {
	number, err := strconv.Atoi(version)
	if err != nil {
		return fmt.Errorf("%q is not the number of a version", version)
	}
	for _, t := range w.Tables {
		if t.Machine.Name() == machine && t.Machine.Version() == number {
			return errOwnVersion
		}
	}
	pool, err := w.database.pool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.OpenIn(ctx, pool, w.Schema, w.Tables...)
	if err != nil {
		return err
	}
	ok, err := store.Withdraw(ctx, machine, number)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("version %d of machine %q is not registered in this database", number, machine)
	}
	fmt.Fprintf(out, "version %d of machine %q is withdrawn\n", number, machine)
	return nil
}

var errOwnVersion = errors.New("this build has that version, and would take it back; use the build that replaces it")
