package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/statemachine"
)

// settings are the flags shared by several commands.
type settings struct {
	brokers     []string
	databaseURL string
	topic       string
	verbose     bool
}

// rootCommand returns the command line. Without a command it runs the demo.
func rootCommand() *cobra.Command {
	var s settings
	root := demoCommand(&s) // without Args, so that cobra suggests a command for a misspelt one
	root.Use = "orderflow"
	root.Short = "An order worker, and a demo that tests it with faults"
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true

	flags := root.PersistentFlags()
	flags.StringSliceVar(&s.brokers, "brokers", brokersOfEnvironment(), "Kafka brokers, host:port (default $KAFKA_BROKERS)")
	flags.StringVar(&s.databaseURL, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
	flags.StringVar(&s.topic, "topic", "", "topic of the orders")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "log what the workers do, not only warnings")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		if s.databaseURL == "" { // not the flag's default, because help would print the password
			s.databaseURL = os.Getenv("DATABASE_URL")
		}
	}
	explicit := demoCommand(&s)
	explicit.Args = cobra.NoArgs
	root.AddCommand(operations()...)
	root.AddCommand(explicit, workerCommand(&s), carrierCommand(&s), providerCommand(), migrateCommand(&s),
		produceCommand(&s), answerCommand(&s), graphCommand())
	return root
}

const (
	defaultTopic = "orders"
	defaultGroup = "order-workers"
)

// operations returns the commands of package cli, for people who operate the workers: status,
// entity, dead-letters, parked, timers, check, replay and so on.
func operations() []*cobra.Command {
	queue, err := newQueue()
	if err != nil {
		panic(err) // its configuration is constant
	}
	return cli.Commands(cli.Config{Tables: tables(defaultTerms, queue), Topics: []string{defaultTopic}, Group: defaultGroup, Decode: decode})
}

func brokersOfEnvironment() []string {
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		return strings.Split(brokers, ",")
	}
	return nil
}

func (s *settings) logLevel() slog.Level {
	if s.verbose {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

var (
	errNoBrokers  = errors.New("no brokers; set --brokers or KAFKA_BROKERS, for example to localhost:9092")
	errNoDatabase = errors.New("no database; set --database-url or DATABASE_URL, for example to postgres://user:password@localhost:5432/shop")
)

// need returns an error for each required server that is not set.
func (s *settings) need(brokers, database bool) error {
	var missing []error
	if brokers && len(s.brokers) == 0 {
		missing = append(missing, errNoBrokers)
	}
	if database && s.databaseURL == "" {
		missing = append(missing, errNoDatabase)
	}
	return errors.Join(missing...)
}

// topicName returns the topic for commands that run on the user's servers.
func (s *settings) topicName() string {
	if s.topic == "" {
		return defaultTopic
	}
	return s.topic
}

// machines are what graph draws.
func machines() map[string]*statemachine.Machine {
	return map[string]*statemachine.Machine{"order": orderMachine(defaultTerms), "payment": Payment, "shipment": Shipment}
}

func graphCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:       "graph [order|payment|shipment]",
		Short:     "Draw a state machine, by default the order's",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"order", "payment", "shipment"},
		RunE: func(cmd *cobra.Command, args []string) error {
			machine := machines()[append(args, "order")[0]]
			switch format {
			case "mermaid":
				fmt.Fprint(cmd.OutOrStdout(), machine.Mermaid())
			case "graphviz", "dot":
				fmt.Fprint(cmd.OutOrStdout(), machine.Graphviz())
			default:
				return fmt.Errorf("unknown format %q; use mermaid or graphviz", format)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "mermaid", "mermaid or graphviz")
	return cmd
}

func migrateCommand(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create the tables, or drop them",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("missing direction: run migrate up or migrate down")
		},
	}
	cmd.AddCommand(
		s.migration("up", "Create or upgrade schemas pawl, orderflow and orderflow_river", migrateUp),
		s.migration("down", "Drop all orders, payments, shipments and jobs, and everything in schema pawl", migrateDown),
	)
	return cmd
}

func (s *settings) migration(use, short string, migrate func(context.Context, string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := s.need(false, true); err != nil {
			return err
		}
		if err := migrate(cmd.Context(), s.databaseURL); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "migrate %s: done\n", use)
		return nil
	}}
}
