package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Config is what the commands need to know about your workers. A command that needs a field
// which is empty says so when it runs.
type Config struct {
	// Tables are those of your store. Required. Schema is the framework's schema; empty means pawl.
	Tables []postgres.Table
	Schema string

	// Client, Topics, Group and Decode are those of your worker's consumer.Config. The commands for
	// definitions don't need them.
	Client []kgo.Opt
	Topics []string
	Group  string
	Decode func(*versioning.Record) ([]versioning.Change, error)
}

// Commands returns the commands, to be added to your program's command line with
// cobra.Command.AddCommand. Each call returns new ones.
//
// They print their results to cobra's standard output, and progress to its error output. They take
// the database from the flag --database-url or the environment variable DATABASE_URL. A program
// that calls os.Exit with [ExitStatus] has an exit status that scripts can use.
func Commands(cfg Config) []*cobra.Command {
	commands := []*cobra.Command{checkCommand(&cfg), migrateCommand(&cfg), withdrawCommand(&cfg)}
	for _, cmd := range commands {
		withStatus(cmd)
	}
	return commands
}

// ExitStatus returns the exit status for the error of a command line: 0 without an error, 1 if
// check found that the definitions are not safe or migrate-entities left entities, and 2 after
// any other error of the commands of this package. For other errors, such as those of your own
// commands, it is 1.
func ExitStatus(err error) int {
	if _, ok := errors.AsType[*failure](err); ok {
		return 2
	}
	return min(check.ExitStatus(err), 1)
}

// A failure is an error after which a command can't tell what it was asked.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// withStatus makes failures of the errors of a command, so that ExitStatus can tell them apart.
func withStatus(cmd *cobra.Command) {
	fail := func(err error) error {
		if err == nil || errors.Is(err, check.ErrUnsafe) || errors.Is(err, ErrLeft) {
			return err
		}
		return &failure{err}
	}
	run, args := cmd.RunE, cmd.Args
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return fail(run(cmd, args)) }
	cmd.Args = func(cmd *cobra.Command, given []string) error { return fail(args(cmd, given)) }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fail(err) })
}

// environment is the variable with the connection string.
const environment = "DATABASE_URL"

var errNoDatabase = errors.New("no database; set --database-url or DATABASE_URL, for example to postgres://user:password@localhost:5432/shop")

// A database is the flag --database-url of one command.
type database struct{ url string }

func (d *database) flag(cmd *cobra.Command) {
	// The environment is not the flag's default, because help would print the password.
	cmd.Flags().StringVar(&d.url, "database-url", "", "PostgreSQL connection string (default $DATABASE_URL)")
}

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
		return nil, fmt.Errorf("--database-url is not a connection string: %w", errors.Unwrap(err)) // without the password
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
