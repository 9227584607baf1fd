package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/examples/orderflow/internal/demo"
)

func demoCommand(s *settings) *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what the worker withstands, and account for every record (the default)",
		Long: `Produces orders with the faults of real life, consumes them with two workers of
which one is killed halfway, replays the whole topic, and then accounts for every
record. It exits with 1 if one was lost, counted twice, or moved by the replay.

It brings a Kafka broker and a PostgreSQL server of its own. With --brokers and
--database-url (or KAFKA_BROKERS and DATABASE_URL) it runs on yours: on a topic of
its own, on orders of its own, and it removes them in the end.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOrders(cfg.Orders); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the demo's own program, to run a worker from it: %w", err)
			}
			cfg.Brokers, cfg.DatabaseURL, cfg.Topic, cfg.LogLevel = s.brokers, s.databaseURL, s.topic, s.logLevel()
			cfg.Stdout, cfg.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			cfg.Migrate, cfg.Work = migrateUp, workFor
			cfg.Command = func(job demo.Job) (string, []string) { return self, workerArgs(job, s.verbose) }
			return demo.Run(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	addTrafficFlags(flags, &cfg.Orders, &cfg.Seed)
	flags.BoolVar(&cfg.JSON, "json", false, "print the result as one line of JSON, and all else to standard error")
	flags.BoolVar(&cfg.Keep, "keep", false, "leave the topic, the groups and the rows on your servers")
	flags.DurationVar(&cfg.SessionTimeout, "session-timeout", 6*time.Second, "after which the group misses the killed worker; Kafka allows 6s and up")
	return cmd
}

func addTrafficFlags(flags *pflag.FlagSet, orders *int, seed *uint64) {
	flags.IntVar(orders, "orders", 2000, "number of orders")
	flags.Uint64Var(seed, "seed", 1, "seed of the traffic; the same seed makes the same traffic")
}

// maxOrders keeps the traffic, which is made up in memory, within it.
const maxOrders = 1_000_000

var errOrders = errors.New("--orders must be between 1 and 1000000")

func checkOrders(n int) error {
	if n < 1 || n > maxOrders {
		return fmt.Errorf("%w; it is %d", errOrders, n)
	}
	return nil
}

// workFor runs a worker of the demo in this process.
func workFor(ctx context.Context, job demo.Job) error {
	return work(ctx, workerConfig{
		brokers: job.Brokers, databaseURL: job.DatabaseURL, topic: job.Topic, group: job.Group,
		clientID: job.Name, sessionTimeout: job.SessionTimeout, logger: job.Logger,
		hooks: []consumer.Hook{job.Hook},
	})
}

// workerArgs are the arguments that run a worker of the demo in a process of its
// own.
func workerArgs(job demo.Job, verbose bool) []string {
	return []string{
		"worker", "--with-parent",
		"--brokers", strings.Join(job.Brokers, ","),
		"--topic", job.Topic,
		"--group", job.Group,
		"--client-id", job.Name,
		"--session-timeout", job.SessionTimeout.String(),
		fmt.Sprintf("--verbose=%t", verbose),
	}
}
