// Command changing is the program of docs/changing.md: orders whose state machine changes. It
// has no Kafka, so that PostgreSQL is all it needs. Its command deliver judges events like a
// worker, and sweep does what a worker does by itself.
//
//	go run ./examples/changing --help
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var tables = []postgres.Table{{Machine: order, Name: "orders"}}

func main() {
	root := &cobra.Command{Use: "shop", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(cli.Config{Tables: tables})...) // check, migrate-entities, withdraw
	root.AddCommand(
		command("create-tables", "Create the tables", cobra.NoArgs, createTables),
		command("deliver KEY EVENT...", "Make changes of an order, as a worker does", cobra.MinimumNArgs(2), withStore(deliver)),
		command("sweep", "Judge parked records and dead letters again, as a worker does every minute", cobra.NoArgs, withStore(sweep)),
		command("states", "Count the orders by state", cobra.NoArgs, states))
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

func withStore(run func(context.Context, *postgres.Store, []string) error) func(context.Context, *pgxpool.Pool, []string) error {
	return func(ctx context.Context, pool *pgxpool.Pool, args []string) error {
		store, err := postgres.Open(ctx, pool, tables...)
		if err != nil {
			return err
		}
		return run(ctx, store, args)
	}
}

func createTables(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	if err := migrate.Up(ctx, pool.Config().ConnString()); err != nil {
		return err
	}
	_, err := pool.Exec(ctx, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL); CREATE INDEX ON orders (state)`)
	return err
}

func deliver(ctx context.Context, store *postgres.Store, args []string) error {
	for _, event := range args[1:] {
		o, err := store.Deliver(ctx, versioning.Change{
			Key: args[0], Event: statemachine.Event(event), MessageID: args[0] + " " + event,
		})
		if err != nil {
			return err
		}
		show(o)
	}
	return nil
}

func sweep(ctx context.Context, store *postgres.Store, _ []string) error {
	swept, err := store.Sweep(ctx, versioning.Reading{})
	if err != nil {
		return err
	}
	redriven, _, err := store.RedriveOlder(ctx, nil, nil) // what Deliver has stored needs no decode function
	for _, s := range append(swept.Released, redriven...) {
		show(s.Outcome)
	}
	return err
}

func show(o versioning.Outcome) {
	fmt.Println(strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", o.Entity.Key, o.Event, o.Verdict, o.Reason)))
}

func states(ctx context.Context, pool *pgxpool.Pool, _ []string) error {
	reader, err := postgres.OpenReader(ctx, pool, "", tables...)
	if err != nil {
		return err
	}
	counts, _, err := reader.CountStates(ctx, order.Name())
	for _, c := range counts {
		fmt.Println(c.State, c.Rows)
	}
	return err
}
