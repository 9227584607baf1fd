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
		Short: "Run the demo: kill a worker, replay the topic, account for every record (the default)",
		Long: `Produces orders with realistic faults, consumes them with two workers, which ask an
unreliable payment provider for the money and announce what is shipped to a third one.
Kills one of them halfway, replays everything, and then accounts for every record, payment
and shipment. Exits with status 1 if anything was lost, done twice, or changed by the replay.

Without flags, the demo starts its own Kafka broker and PostgreSQL server. With
--brokers and --database-url (or KAFKA_BROKERS and DATABASE_URL) it uses yours. There
it creates its own topic and its own orders, and removes them at the end.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOrders(cfg.Orders); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program's path, to start a worker process: %w", err)
			}
			cfg.Brokers, cfg.DatabaseURL, cfg.Topic, cfg.LogLevel = s.brokers, s.databaseURL, s.topic, s.logLevel()
			cfg.Stdout, cfg.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			cfg.Migrate, cfg.Work, cfg.Carry = migrateUp, workFor, carryFor
			cfg.Command = func(job demo.Job) (string, []string) { return self, workerArgs(job, s.verbose) }
			return demo.Run(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	addTrafficFlags(flags, &cfg.Orders, &cfg.Seed)
	flags.BoolVar(&cfg.JSON, "json", false, "print the result as one line of JSON, and everything else to standard error")
	flags.BoolVar(&cfg.Keep, "keep", false, "keep the topic, the groups and the rows on your servers")
	flags.DurationVar(&cfg.SessionTimeout, "session-timeout", 6*time.Second, "session timeout of the group, after which it notices the killed worker; Kafka allows 6s or more")
	return cmd
}

func addTrafficFlags(flags *pflag.FlagSet, orders *int, seed *uint64) {
	flags.IntVar(orders, "orders", 2000, "number of orders")
	flags.Uint64Var(seed, "seed", 1, "seed of the traffic; the same seed gives the same traffic")
}

// maxOrders limits the traffic, which is generated in memory.
const maxOrders = 1_000_000

var errOrders = errors.New("--orders must be between 1 and 1000000")

func checkOrders(n int) error {
	if n < 1 || n > maxOrders {
		return fmt.Errorf("%w; got %d", errOrders, n)
	}
	return nil
}

// workFor and carryFor run a demo worker in this process.
func workFor(ctx context.Context, job demo.Job) error { return work(ctx, configOf(job)) }

func carryFor(ctx context.Context, job demo.Job) error { return carry(ctx, configOf(job)) }

func configOf(job demo.Job) workerConfig {
	return workerConfig{
		brokers: job.Brokers, databaseURL: job.DatabaseURL, topic: job.Topic, group: job.Group,
		clientID: job.Name, sessionTimeout: job.SessionTimeout, logger: job.Logger,
		terms:       Terms{PayWithin: job.PayWithin, Shipments: job.Shipments},
		providerURL: job.Provider, callTimeout: job.CallTimeout,
		hooks: []consumer.Hook{job.Hook},
	}
}

// workerArgs returns the arguments that run a demo worker in a separate
// process.
func workerArgs(job demo.Job, verbose bool) []string {
	return []string{
		"worker", "--with-parent",
		"--brokers", strings.Join(job.Brokers, ","),
		"--topic", job.Topic,
		"--group", job.Group,
		"--client-id", job.Name,
		"--shipments", job.Shipments,
		"--provider", job.Provider,
		"--pay-within", job.PayWithin.String(),
		"--call-timeout", job.CallTimeout.String(),
		"--session-timeout", job.SessionTimeout.String(),
		fmt.Sprintf("--verbose=%t", verbose),
	}
}
