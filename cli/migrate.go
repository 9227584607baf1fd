package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// ErrLeft is the error of migrate-entities if entities could not be migrated.
var ErrLeft = errors.New("some entities could not be migrated; they stay in their states")

// A migrator is the command migrate-entities.
type migrator struct {
	*Config

	database database
	how      postgres.Migration
}

func migrateCommand(cfg *Config) *cobra.Command {
	m := &migrator{Config: cfg}
	cmd := &cobra.Command{
		Use:   "migrate-entities [machine]",
		Short: "Move entities out of states that this build has retired",
		Long: `Move entities out of states that this build has retired, as the Migrations of
its definitions say.

Workers of old and new builds may run meanwhile. If the command is interrupted,
run it again: it goes on with what is left. Run it once more after the last old
worker has stopped, because until then old workers may put entities into those
states. Like a worker, the command registers this build's definitions in the
database, also with --dry-run.

The exit status is 0 if all entities were migrated, 1 if some could not be, and
2 after any other error.`,
		Example: `  migrate-entities --dry-run
  migrate-entities order --per-second 500`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				m.how.Machine = args[0]
			}
			return m.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	m.database.flag(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&m.how.DryRun, "dry-run", false, "only count the entities that would be migrated")
	flags.IntVar(&m.how.Batch, "batch", 0, "at most `n` entities in one transaction (default 500)")
	flags.IntVar(&m.how.PerSecond, "per-second", 0, "at most `n` entities in a second (default no limit)")
	return cmd
}

func (m *migrator) run(ctx context.Context, out, progress io.Writer) error {
	if err := m.known(); err != nil {
		return err
	}
	pool, err := m.database.pool(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := postgres.OpenIn(ctx, pool, m.Schema, m.Tables...)
	if err != nil {
		return err
	}
	how := m.how
	how.Progress = every(time.Second, func(done postgres.Migrated, took time.Duration) {
		fmt.Fprintf(progress, "%s so far, %.0f/s\n", m.text(done), float64(done.Moved)/took.Seconds())
	})
	done, err := store.Migrate(ctx, how)
	if err != nil {
		fmt.Fprintf(progress, "interrupted: %s; run the command again to go on\n", m.text(done))
		return err
	}
	fmt.Fprintln(out, m.text(done))
	for _, o := range done.Failures {
		fmt.Fprintf(out, "  %s: %s %s\n", o.Entity, o.Reason, o.Detail)
	}
	if done.Left > 0 {
		return ErrLeft
	}
	return nil
}

// known checks that there is the machine that is named on the command line.
func (m *migrator) known() error {
	if m.how.Machine == "" {
		return nil
	}
	var names []string
	for _, t := range m.Tables {
		if t.Machine.Name() == m.how.Machine {
			return nil
		}
		names = append(names, t.Machine.Name())
	}
	return fmt.Errorf("there is no machine %q; there are %q", m.how.Machine, names)
}

func (m *migrator) text(done postgres.Migrated) string {
	verb := "were"
	if m.how.DryRun {
		verb = "would be"
	}
	return fmt.Sprintf("%d entities %s migrated, %d can't be", done.Moved, verb, done.Left)
}

// every returns a function that passes on its calls, at most one in each interval.
func every(interval time.Duration, report func(postgres.Migrated, time.Duration)) func(postgres.Migrated) {
	began := time.Now()
	last := began
	return func(done postgres.Migrated) {
		if now := time.Now(); now.Sub(last) >= interval {
			last = now
			report(done, now.Sub(began))
		}
	}
}
