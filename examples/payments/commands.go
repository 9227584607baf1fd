package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/examples/payments/internal/demo"
)

// rootCommand returns the command line. Without a command it runs the demo.
func rootCommand() *cobra.Command {
	root := demoCommand() // without Args, so that cobra suggests a command for a misspelt one
	root.Use = "payments"
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	explicit := demoCommand()
	explicit.Args = cobra.NoArgs
	root.AddCommand(explicit, workerCommand(), serveCommand(), migrateCommand())
	return root
}

const (
	maxPayments = 1_000_000 // the traffic is generated in memory
	maxAccounts = 1_000
)

func demoCommand() *cobra.Command {
	var cfg demo.Config
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the demo: kill a worker, replay the topic, account for every cent (the default)",
		Long: `Starts a Kafka broker and a PostgreSQL server, produces payments and transfers with
realistic faults, and consumes them with two workers, while colleagues update the same
rows. Kills one worker halfway and starts it again, replays the whole topic, and then
accounts for every record, every write and every cent. Exits with status 1 if anything
differs from what it must be.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Payments < 1 || cfg.Payments > maxPayments || cfg.Accounts < 2 || cfg.Accounts > maxAccounts {
				return fmt.Errorf("--payments must be between 1 and %d, and --accounts between 2 and %d", maxPayments, maxAccounts)
			}
			cfg.LogLevel, cfg.Stdout, cfg.Stderr = level(verbose), cmd.OutOrStdout(), cmd.ErrOrStderr()
			_, err := runDemo(cmd.Context(), cfg)
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Payments, "payments", 3000, "number of payments")
	flags.IntVar(&cfg.Accounts, "accounts", 60, "number of accounts")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "seed of the traffic; the same seed gives the same traffic")
	flags.DurationVar(&cfg.SessionTimeout, "session-timeout", 2*time.Second, "session timeout of the group, after which it notices the killed worker")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log what the workers do, not only warnings")
	return cmd
}

// runDemo runs the demo with the workers of this program.
func runDemo(ctx context.Context, cfg demo.Config) (*demo.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's path, to start a worker process: %w", err)
	}
	cfg.Migrate, cfg.Work = migrateUp, workFor
	cfg.Command = func(job demo.Job) (string, []string) { return self, workerArgs(job) }
	return demo.Run(ctx, cfg)
}

// workFor runs a demo worker in this process.
func workFor(ctx context.Context, job demo.Job) error {
	return work(ctx, workerConfig{
		brokers: job.Brokers, databaseURL: job.DatabaseURL, topic: job.Topic, group: job.Group,
		clientID: job.Name, sessionTimeout: job.SessionTimeout, logger: job.Logger,
		hooks: []consumer.Hook{job.Hook},
	})
}

// workerArgs returns the arguments that run a demo worker in a separate process.
func workerArgs(job demo.Job) []string {
	return []string{
		"worker", "--with-parent",
		"--brokers", strings.Join(job.Brokers, ","),
		"--topic", job.Topic,
		"--group", job.Group,
		"--client-id", job.Name,
		"--session-timeout", job.SessionTimeout.String(),
	}
}

func workerCommand() *cobra.Command {
	var cfg workerConfig
	var verbose, withParent bool
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run one worker until SIGINT or SIGTERM; a second signal kills it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(cfg.brokers) == 0 {
				return errors.New("no brokers; set --brokers, for example to localhost:9092")
			}
			var err error
			if cfg.databaseURL, err = databaseURL(cfg.databaseURL); err != nil {
				return err
			}
			if withParent {
				go exitWith(os.Stdin)
			}
			cfg.logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level(verbose)})).
				With("worker", cfg.clientID)
			return work(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&cfg.brokers, "brokers", nil, "Kafka brokers, host:port")
	flags.StringVar(&cfg.databaseURL, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
	flags.StringVar(&cfg.topic, "topic", "payments", "topic of the payments")
	flags.StringVar(&cfg.group, "group", "payment-workers", "consumer group")
	flags.StringVar(&cfg.clientID, "client-id", "payments", "name of this worker for the broker and the logs")
	flags.DurationVar(&cfg.sessionTimeout, "session-timeout", 0, "time after which the group removes a silent worker; 0 means the client's default")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log everything, not only warnings")
	flags.BoolVar(&withParent, "with-parent", false, "exit when standard input is closed")
	if err := flags.MarkHidden("with-parent"); err != nil {
		panic(err) // the flag exists
	}
	return cmd
}

func serveCommand() *cobra.Command {
	var cfg serverConfig
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the HTTP API until SIGINT or SIGTERM; a second signal kills it",
		Long: `Runs the HTTP API. Whoever may use it is named in the environment variable API_CALLERS, as
name=token, separated by commas.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.databaseURL, err = databaseURL(cfg.databaseURL); err != nil {
				return err
			}
			if cfg.callers, err = parseCallers(os.Getenv("API_CALLERS")); err != nil {
				return fmt.Errorf("API_CALLERS: %w", err)
			}
			cfg.logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level(verbose)}))
			cfg.started = func(at net.Addr) { fmt.Fprintf(cmd.OutOrStdout(), "listening on http://%s\n", at) }
			return serve(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.listen, "listen", "localhost:8080", "address to listen on, host:port")
	flags.StringVar(&cfg.databaseURL, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log everything, not only warnings")
	return cmd
}

// databaseURL returns the flag's value, or that of the environment. It is not the flag's
// default, because help would print the password.
func databaseURL(flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv("DATABASE_URL")
	}
	if flag == "" {
		return "", errors.New("no database; set --database-url or DATABASE_URL, for example to postgres://user:password@localhost:5432/shop")
	}
	return flag, nil
}

// exitWith exits when stdin is closed, which happens when the parent process ends.
func exitWith(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin) // how it ended does not matter
	os.Exit(1)
}

func level(verbose bool) slog.Level {
	if verbose {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create the tables, or drop them",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("missing direction: run migrate up or migrate down")
		},
	}
	cmd.AddCommand(
		migration("up", "Create or upgrade schemas pawl and payments", migrateUp),
		migration("down", "Drop all payments and accounts, and the history, parked records and dead letters in schema pawl", migrateDown),
	)
	return cmd
}

func migration(use, short string, migrate func(context.Context, string) error) *cobra.Command {
	var url string
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		at, err := databaseURL(url)
		if err != nil {
			return err
		}
		if err := migrate(cmd.Context(), at); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "migrate %s: done\n", use)
		return nil
	}}
	cmd.Flags().StringVar(&url, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
	return cmd
}
