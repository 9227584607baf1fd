// Command pawl-migrate creates or upgrades the framework's schema in a database, drops its
// tables, or checks whether this build works with it.
//
//	pawl-migrate up|down|status [--database-url URL] [--schema NAME]
//
// The URL defaults to the environment variable DATABASE_URL, the schema to pawl. The exit
// status is 1 after an error, which is written to standard error. See [migrate.UpIn],
// [migrate.DownIn] and [migrations.Check] for what the three do, and for a schema that is
// newer than the build.
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
	"github.com/pawl-go/pawl/migrations/migrate"
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
		Short:        "Create, upgrade, drop or check the framework's schema in a database",
		SilenceUsage: true,
	}
	url := cmd.PersistentFlags().String("database-url", os.Getenv("DATABASE_URL"), "PostgreSQL connection string (default $DATABASE_URL)")
	schema := cmd.PersistentFlags().String("schema", migrations.DefaultSchema, "the framework's schema")
	command := func(use, short string, do func(context.Context, string, migrations.Schema) error) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			if *url == "" {
				return errNoURL
			}
			if err := do(cmd.Context(), *url, migrations.Schema(*schema)); err != nil {
				return err
			}
			cmd.Printf("schema %s: %s done\n", *schema, use)
			return nil
		}})
	}
	command("up", "Create the schema, or upgrade it to the version of this build", migrate.UpIn)
	command("down", "Drop the schema's tables: all history, parked records and dead letters", migrate.DownIn)
	command("status", "Exit with an error unless this build works with the schema", status)
	return cmd
}

var errNoURL = errors.New("no database: set DATABASE_URL or --database-url")

func status(ctx context.Context, url string, schema migrations.Schema) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	err = schema.Check(ctx, conn)
	return errors.Join(err, conn.Close(ctx))
}
