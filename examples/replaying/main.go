// Command replaying is the program of docs/replaying.md: orders whose topic is replayed. Its
// command work is a worker that stops at the end of the topic.
//
//	go run ./examples/replaying --help
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "paid", From: statemachine.In("pending"), To: "paid"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "cancelled", From: statemachine.In("pending"), To: "cancelled"},
	},
	Terminal: statemachine.In("shipped", "cancelled"),
})

const group = "order-workers"

var (
	tables  = []postgres.Table{{Machine: order, Name: "orders"}}
	topic   = os.Getenv("TOPIC")
	brokers = kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...)
)

func main() {
	root := &cobra.Command{Use: "shop", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(cli.Config{
		Tables: tables, Client: []kgo.Opt{brokers}, Topics: []string{topic}, Group: group, Decode: consumer.DecodeMessage,
	})...)
	root.AddCommand(
		command("create-tables", "Create the tables", cobra.NoArgs, createTables),
		command("send KEY EVENT...", "Send events of an order", cobra.MinimumNArgs(2), send),
		command("work", "Run a worker until it has read the topic", cobra.NoArgs, work),
		command("sql STATEMENT", "Do something to the database that only a person would do", cobra.ExactArgs(1), sql))
	err := root.Execute()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
	}
	os.Exit(cli.ExitStatus(err))
}

// command returns a command that is given a connection.
func command(use, short string, args cobra.PositionalArgs, run func(context.Context, *pgxpool.Pool, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		pool, err := pgxpool.New(cmd.Context(), os.Getenv("DATABASE_URL"))
		if err != nil {
			return err
		}
		defer pool.Close()
		return run(cmd.Context(), pool, args)
	}}
}

func createTables(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	if err := migrate.Up(ctx, pool.Config().ConnString()); err != nil {
		return err
	}
	return sql(ctx, pool, []string{`CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`})
}

func sql(ctx context.Context, pool *pgxpool.Pool, args []string) error {
	_, err := pool.Exec(ctx, args[0])
	return err
}

func send(ctx context.Context, _ *pgxpool.Pool, args []string) error {
	client, err := kgo.NewClient(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, event := range args[1:] {
		value := fmt.Sprintf(`{"key": %q, "event": %q, "id": %q}`, args[0], event, args[0]+" "+event)
		r := &kgo.Record{Topic: topic, Key: []byte(args[0]), Value: []byte(value)}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

func work(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	store, err := postgres.Open(ctx, pool, tables...)
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{brokers}, Group: group, Topics: []string{topic}, Store: store, Decode: consumer.DecodeMessage,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	err = atEnd(ctx)
	stop()
	return errors.Join(err, <-done)
}

// atEnd waits until the group has read the topic.
func atEnd(ctx context.Context) error {
	client, err := kgo.NewClient(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	for tick := time.Tick(100 * time.Millisecond); ; <-tick {
		lags, err := adm.Lag(ctx, group)
		if err != nil {
			return err
		}
		if of := lags[group]; of.Error() == nil && of.Lag.Total() == 0 && len(of.Lag[topic]) > 0 {
			return nil
		}
	}
}
