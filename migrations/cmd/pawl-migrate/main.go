// Command pawl-migrate brings the schema "pawl" of a database up or down, or
// says which version it has.
//
//	pawl-migrate up|down|status [--database-url URL]
//
// The URL defaults to the environment variable DATABASE_URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/migrations"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		return 1
	}
	return 0
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:          "pawl-migrate",
		Short:        "Bring the schema pawl of a database up or down",
		SilenceUsage: true,
	}
	url := cmd.PersistentFlags().String("database-url", os.Getenv("DATABASE_URL"), "PostgreSQL connection string (default $DATABASE_URL)")
	cmd.AddCommand(
		command("up", "Create or upgrade the schema", url, func(ctx context.Context) error {
			return migrations.Up(ctx, *url)
		}),
		command("down", "Drop the schema's tables: all history, parked records and dead letters", url, func(ctx context.Context) error {
			return migrations.Down(ctx, *url)
		}),
		command("status", "Exit with an error unless the schema fits this build", url, func(ctx context.Context) error {
			return status(ctx, *url)
		}),
	)
	return cmd
}

var errNoURL = errors.New("no database: set DATABASE_URL or --database-url")

func command(use, short string, url *string, do func(context.Context) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if *url == "" {
			return errNoURL
		}
		if err := do(cmd.Context()); err != nil {
			return err
		}
		cmd.Printf("schema pawl: %s done\n", use)
		return nil
	}}
}

func status(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	err = migrations.Check(ctx, conn)
	return errors.Join(err, conn.Close(ctx))
}
