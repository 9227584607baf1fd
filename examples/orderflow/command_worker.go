package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func workerCommand(s *settings) *cobra.Command {
	cfg := workerConfig{}
	var withParent bool
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run one worker of the orders until SIGINT or SIGTERM; a second signal kills it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.need(true, true); err != nil {
				return err
			}
			if withParent {
				go exitWith(os.Stdin)
			}
			cfg.brokers, cfg.databaseURL, cfg.topic = s.brokers, s.databaseURL, s.topicName()
			cfg.logger = s.logger(cmd, cfg.clientID)
			return work(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.group, "group", defaultGroup, "consumer group")
	flags.StringVar(&cfg.clientID, "client-id", "orderflow", "name of this worker for the broker, for River and in the logs")
	flags.StringVar(&cfg.terms.Shipments, "shipments", defaultTerms.Shipments, "topic to announce shipments on")
	flags.DurationVar(&cfg.terms.PayWithin, "pay-within", defaultTerms.PayWithin, "time for another card, after which an unpaid order expires; another value needs another version of the machine")
	flags.StringVar(&cfg.providerURL, "provider", "http://"+providerAddress, "URL of the payment provider")
	flags.DurationVar(&cfg.callTimeout, "call-timeout", 10*time.Second, "time for the payment provider to answer")
	flags.DurationVar(&cfg.sessionTimeout, "session-timeout", 0*time.Second, "time after which the group removes a silent worker; 0 means the client's default")
	flags.IntVar(&cfg.maxBatch, "max-batch", 0, "largest number of records in a batch; 0 means the consumer's default")
	flags.StringVar(&cfg.listen, "listen", "", "address to serve /healthz, /readyz and /metrics on, such as 127.0.0.1:8080; empty means none")
	flags.DurationVar(&cfg.countEvery, "count-every", 15*time.Second, "how often parked records, dead letters and messages are counted for the metrics")
	flags.BoolVar(&withParent, "with-parent", false, "exit when standard input is closed")
	if err := flags.MarkHidden("with-parent"); err != nil {
		panic(err) // the flag exists
	}
	return cmd
}

// carrierCommand runs the second worker.
func carrierCommand(s *settings) *cobra.Command {
	cfg := workerConfig{}
	cmd := &cobra.Command{
		Use:   "carrier",
		Short: "Run one worker of the shipments, which the workers of the orders announce",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.need(true, true); err != nil {
				return err
			}
			cfg.brokers, cfg.databaseURL = s.brokers, s.databaseURL
			cfg.logger = s.logger(cmd, cfg.clientID)
			return carry(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.topic, "shipments", defaultTerms.Shipments, "topic of the shipments")
	flags.StringVar(&cfg.group, "group", "carriers", "consumer group")
	flags.StringVar(&cfg.clientID, "client-id", "carrier", "name of this worker for the broker and the logs")
	return cmd
}

func (s *settings) logger(cmd *cobra.Command, worker string) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: s.logLevel()})).With("worker", worker)
}

// exitWith exits when stdin is closed, which happens when the parent process
// ends.
func exitWith(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin) // how it ended does not matter
	os.Exit(1)
}
