package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// environment is the variable with the connection string.
const environment = "DATABASE_URL"

var errNoDatabase = errors.New("no database; set --database-url or DATABASE_URL, for example to postgres://user:password@localhost:5432/shop")

// A database is the flag --database-url of one command.
type database struct{ url string }

func (d *database) flag(cmd *cobra.Command) {
	// The environment is not the flag's default, because help would print the password.
	cmd.Flags().StringVar(&d.url, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
}

var errInvalid = errors.New("one of its settings is not valid")

// isSet reports whether there is a database.
func (d *database) isSet() bool { return d.address() != "" }

func (d *database) address() string {
	if d.url != "" {
		return d.url
	}
	return os.Getenv(environment)
}

// pool connects to the database. The caller closes it.
func (d *database) pool(ctx context.Context) (*pgxpool.Pool, error) {
	if !d.isSet() {
		return nil, errNoDatabase
	}
	config, err := pgxpool.ParseConfig(d.address())
	if err != nil {
		return nil, fmt.Errorf("--database-url is not a connection string: %w", cmp.Or(errors.Unwrap(err), errInvalid)) // without the password
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL; check that it runs, and --database-url: %w", err)
	}
	return pool, nil
}
