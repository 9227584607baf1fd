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
		Short: "Run one worker until SIGINT or SIGTERM; a second one ends it at once",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.need(true, true); err != nil {
				return err
			}
			if withParent {
				go exitWith(os.Stdin)
			}
			cfg.brokers, cfg.databaseURL, cfg.topic = s.brokers, s.databaseURL, s.topicName()
			cfg.logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: s.logLevel()})).
				With("worker", cfg.clientID)
			return work(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.group, "group", "order-workers", "consumer group")
	flags.StringVar(&cfg.clientID, "client-id", "orderflow", "name of this worker, for the broker and in logs")
	flags.DurationVar(&cfg.sessionTimeout, "session-timeout", 0*time.Second, "after which the group gives up on a silent worker; 0 is the client's default")
	flags.StringVar(&cfg.listen, "listen", "", "serve /healthz and /readyz at this address, 127.0.0.1:8080 for instance; empty: not at all")
	flags.BoolVar(&withParent, "with-parent", false, "end when standard input does")
	if err := flags.MarkHidden("with-parent"); err != nil {
		panic(err) // there is such a flag
	}
	return cmd
}

// exitWith ends the process when its input ends, and so with the parent that
// holds the other end.
func exitWith(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin) // how it ended does not matter
	os.Exit(1)
}
