package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Config is what the commands need to know about your workers. A command that needs a field
// which is empty says so when it runs.
type Config struct {
	// Tables are those of your store. Schema is the framework's schema; empty means pawl.
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
// cobra.Command.AddCommand: those of [DatabaseCommands], and those that need your machines or your
// Decode. Each call returns new ones.
//
// They print their results to cobra's standard output, and progress and questions to its error
// output. They take the database from the flag --database-url or the environment variable
// DATABASE_URL. A program that calls os.Exit with [ExitStatus] has an exit status that scripts can
// use.
func Commands(cfg Config) []*cobra.Command {
	commands := append(databaseCommands(&cfg), checkCommand(&cfg), migrateCommand(&cfg), withdrawCommand(&cfg), replayCommand(&cfg))
	return withStatus(commands)
}

// DatabaseCommands returns the commands that need the database alone, not the code of your
// machines. They are those of the program cmd/pawl: status, entity, dead-letters, parked, timers,
// unsent, machine and audit. schema is the framework's schema; empty means pawl. The flag --schema
// changes it.
func DatabaseCommands(schema string) []*cobra.Command {
	return withStatus(databaseCommands(&Config{Schema: schema}))
}

func databaseCommands(cfg *Config) []*cobra.Command {
	return []*cobra.Command{
		statusCommand(cfg), entityCommand(cfg), deadLettersCommand(cfg), parkedCommand(cfg),
		timersCommand(cfg), unsentCommand(cfg), machineCommand(cfg), auditCommand(cfg),
	}
}

// ErrAbsent matches the error of a command whose argument names something that is not there.
var ErrAbsent = errors.New("what the command line names is not there")

// An absence is an ErrAbsent that says what is not there.
type absence struct{ what string }

func (a *absence) Error() string { return a.what }

// Is reports whether target is [ErrAbsent].
func (a *absence) Is(target error) bool { return target == ErrAbsent }

func absent(format string, args ...any) error { return &absence{fmt.Sprintf(format, args...)} }

// ExitStatus returns the exit status for the error of a command line: 0 without an error, 1 if a
// command of this package has found something or did not find what it was asked for, and 2 after
// any other error of these commands. That is, 1 if check found that the definitions are not safe,
// migrate-entities left entities, replay found that something is not as it should be, status
// --check found something to look at, redrive left dead letters, or there is no such entity, dead
// letter or machine ([ErrAbsent]). For other errors, such as those of your own commands, it is 1.
func ExitStatus(err error) int {
	if _, ok := errors.AsType[*failure](err); ok {
		return 2
	}
	return min(check.ExitStatus(err), 1)
}

// A failure is an error after which a command can't tell what it was asked.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// withStatus makes failures of the errors of commands, so that ExitStatus can tell them apart.
func withStatus(commands []*cobra.Command) []*cobra.Command {
	fail := func(err error) error {
		found := func(target error) bool { return errors.Is(err, target) }
		if err == nil || slices.ContainsFunc([]error{check.ErrUnsafe, ErrLeft, ErrFound, ErrAbsent}, found) {
			return err
		}
		return &failure{err}
	}
	for _, cmd := range commands {
		run, args := cmd.RunE, cmd.Args
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return fail(run(cmd, args)) }
		cmd.Args = func(cmd *cobra.Command, given []string) error { return fail(args(cmd, given)) }
		cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fail(err) })
		withStatus(cmd.Commands())
	}
	return commands
}

// group returns a command that has only other commands. A misspelt one is an error.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}
