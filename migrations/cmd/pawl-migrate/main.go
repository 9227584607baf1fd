// Command pawl-migrate brings the framework's schema of a database up or down, or
// says which version it has.
//
//	pawl-migrate up|down|status [--database-url URL] [--schema NAME]
//
// The URL defaults to the environment variable DATABASE_URL, the schema to pawl.
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
		Short:        "Bring the framework's schema of a database up or down",
		SilenceUsage: true,
	}
	url := cmd.PersistentFlags().String("database-url", os.Getenv("DATABASE_URL"), "PostgreSQL connection string (default $DATABASE_URL)")
	schema := cmd.PersistentFlags().String("schema", migrations.DefaultSchema, "the framework's schema")
	command := func(use, short string, do func(migrations.Schema, context.Context, string) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			if *url == "" {
				return errNoURL
			}
			if err := do(migrations.Schema(*schema), cmd.Context(), *url); err != nil {
				return err
			}
			cmd.Printf("schema %s: %s done\n", *schema, use)
			return nil
		}})
	}
	command("up", "Create or upgrade the schema", migrations.Schema.Up)
	command("down", "Drop the schema's tables: all history, parked records and dead letters", migrations.Schema.Down)
	command("status", "Exit with an error unless the schema fits this build", status)
	return cmd
}

var errNoURL = errors.New("no database: set DATABASE_URL or --database-url")

func status(schema migrations.Schema, ctx context.Context, url string) error { //nolint:revive // like Schema.Up and Schema.Down
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	err = schema.Check(ctx, conn)
	return errors.Join(err, conn.Close(ctx))
}
