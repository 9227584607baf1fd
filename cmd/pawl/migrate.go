package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

var (
	errNoDatabase = errors.New("no database; set --database-url or DATABASE_URL, for example to postgres://user:password@localhost:5432/shop")
	errUnsure     = errors.New("nothing was dropped: all history, parked records and dead letters would be lost; use --yes if you want that")

	// errOutdated says that the schema is missing or too old.
	errOutdated = errors.New("this build does not work with the schema")
)

// A migrator is one of the commands below migrate.
type migrator struct {
	url    string
	schema string
	output string
	yes    bool
}

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Create, upgrade or check the framework's schema", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var m migrator
	flags := cmd.PersistentFlags()
	flags.StringVar(&m.url, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
	flags.StringVar(&m.schema, "schema", migrations.DefaultSchema, "the framework's `schema`")
	down := m.command("down", "Drop the schema's tables: all history, parked records and dead letters", `Drop the schema's tables, and with them all history, parked records and dead
letters. Entity tables are not touched. It is not the way back to an older version:
older builds work with a newer schema.`, "  pawl migrate down --schema trial --yes", m.down)
	down.Flags().BoolVar(&m.yes, "yes", false, "drop them")
	status := m.command("status", "Show the schema's version, and whether this build works with it", `Show the schema's version, and whether this build works with it. The exit status is
1 if it does not. JSON has: schema, version (0 if there is no schema), oldest and
newest (the versions that this build works with and ships), works.`, "  pawl migrate status --output json", m.status)
	status.Flags().StringVar(&m.output, "output", "table", "table or json")
	cmd.AddCommand(
		m.command("up", "Create the schema, or upgrade it to the version of this build", `Create the schema, or upgrade it to the version of this build. A newer schema is
left as it is. The role needs CREATE on the database. Workers may run meanwhile.`, "  pawl migrate up --schema acme", m.up),
		status, down)
	return cmd
}

func (m *migrator) command(use, short, long, example string, do func(context.Context, *cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m.url == "" { // not the flag's default, because help would print the password
				m.url = os.Getenv("DATABASE_URL")
			}
			if m.url == "" {
				return errNoDatabase
			}
			return do(cmd.Context(), cmd)
		},
	}
}

func (m *migrator) up(ctx context.Context, cmd *cobra.Command) error {
	if err := migrate.UpIn(ctx, m.url, migrations.Schema(m.schema)); err != nil {
		return err
	}
	version, err := m.version(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "schema %s is at version %d\n", m.schema, version)
	return nil
}

func (m *migrator) down(ctx context.Context, cmd *cobra.Command) error {
	if !m.yes {
		return errUnsure
	}
	if err := migrate.DownIn(ctx, m.url, migrations.Schema(m.schema)); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the tables of schema %s are dropped\n", m.schema)
	return nil
}

func (m *migrator) version(ctx context.Context) (int64, error) {
	conn, err := pgx.Connect(ctx, m.url)
	if err != nil {
		return 0, fmt.Errorf("connect to PostgreSQL; check that it runs, and --database-url: %w", err)
	}
	version, err := migrations.Schema(m.schema).Installed(ctx, conn)
	return version, errors.Join(err, conn.Close(ctx))
}

func (m *migrator) status(ctx context.Context, cmd *cobra.Command) error {
	if m.output != "table" && m.output != "json" {
		return fmt.Errorf("unknown output %q; use table or json", m.output)
	}
	version, err := m.version(ctx)
	if err != nil {
		return err
	}
	works := version >= migrations.Oldest
	out := cmd.OutOrStdout()
	switch {
	case m.output == "json":
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"schema": m.schema, "version": version, "oldest": migrations.Oldest, "newest": migrations.Version, "works": works}); err != nil {
			return fmt.Errorf("print the status: %w", err)
		}
	case version == 0:
		fmt.Fprintf(out, "there is no schema %s\n", m.schema)
	default:
		fmt.Fprintf(out, "schema %s is at version %d; this build works with %d or newer, and ships %d\n", m.schema, version, migrations.Oldest, migrations.Version)
	}
	switch {
	case !works:
		return fmt.Errorf("%w; run: pawl migrate up", errOutdated)
	case version < migrations.Version && m.output != "json":
		fmt.Fprintln(out, "upgrade it with: pawl migrate up")
	}
	return nil
}
