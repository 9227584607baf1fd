package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
)

// providerAddress is where the payment provider listens by default.
const providerAddress = "127.0.0.1:8090"

func providerCommand() *cobra.Command {
	var address string
	var cfg provider.Config
	cmd := &cobra.Command{
		Use:   "provider",
		Short: "Run an unreliable payment provider, which keeps its ledger in memory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := provider.Start(cmd.Context(), address, cfg)
			if err != nil {
				return err
			}
			defer func() { _ = p.Close() }() // interrupts requests
			fmt.Fprintf(cmd.OutOrStdout(), "payment provider on %s; its ledger is on %[1]s/ledger\n", p.URL())
			return p.Wait(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&address, "listen", providerAddress, "address to listen on")
	cmd.Flags().BoolVar(&cfg.Faults, "faults", true, "answer some requests late, wrongly or not at all")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 1, "seed of the faults")
	return cmd
}
