package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pawl-go/pawl/versioning/postgres"
)

const (
	outputTable = "table"
	outputJSON  = "json"
)

// An inspection is a command that looks at the database.
type inspection struct {
	*Config

	database database
	schema   string
	output   string
}

// A session is a run of such a command.
type session struct {
	*printer

	cmd  *cobra.Command
	pool *pgxpool.Pool
	op   *postgres.Operator
	args []string
}

// command returns a command that calls run with a connection.
func (i *inspection) command(use, short, long, example string, args cobra.PositionalArgs, run func(context.Context, *session) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if i.output != outputTable && i.output != outputJSON {
				return fmt.Errorf("unknown output %q; use table or json", i.output)
			}
			s, err := i.open(cmd, args)
			if err != nil {
				return err
			}
			defer s.pool.Close()
			return run(cmd.Context(), s)
		},
	}
	i.database.flag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&i.schema, "schema", i.Schema, "the framework's `schema` (default pawl)")
	flags.StringVar(&i.output, "output", outputTable, "table or json")
	complete(cmd, "output", outputTable, outputJSON)
	return cmd
}

// complete sets the values that a shell suggests for a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// completeMachines sets the names of machines as what a shell suggests for a flag.
func (i *inspection) completeMachines(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, i.machineNames) // the flag exists
}

// completionTimeout limits how long a shell waits for suggestions.
const completionTimeout = 3 * time.Second

// machineNames returns the registered machines, for a shell.
func (i *inspection) machineNames(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.SetContext(ctx)
	s, err := i.open(cmd, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer s.pool.Close()
	machines, err := s.op.Machines(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, m := range machines {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// open connects to the database. The caller closes the pool.
func (i *inspection) open(cmd *cobra.Command, args []string) (*session, error) {
	ctx := cmd.Context()
	pool, err := i.database.pool(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{cmd: cmd, pool: pool, args: args}
	var now time.Time
	if s.op, err = postgres.OpenOperator(ctx, pool, i.schema); err == nil {
		now, err = s.op.Now(ctx)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.printer = newPrinter(cmd.OutOrStdout(), i.output, now)
	return s, nil
}

// sibling returns how to call another command of the same program.
func (s *session) sibling(command string) string {
	return strings.TrimSpace(s.cmd.Root().CommandPath() + " " + command)
}

// An operation is a command that changes something.
type operation struct {
	inspection

	yes bool
	as  string
}

// ask adds the flags of a command that asks before it does something.
func (o *operation) ask(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&o.as, "as", "", "`who` does it, for table audit (default user@host of the operating system)")
}

// act returns what the table audit gets to know.
func (o *operation) act(s *session, verb string) postgres.Act {
	as := o.as
	if as == "" {
		as = person()
	}
	arguments := slices.Clone(s.args)
	s.cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "database-url", "output", "yes", "as": // not what is done, or a password
		default:
			arguments = append(arguments, "--"+f.Name+"="+f.Value.String())
		}
	})
	return postgres.Act{As: as, Verb: verb, Arguments: strings.Join(arguments, " ")}
}

// person returns who uses the operating system.
func person() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if name == "" {
		name = "unknown"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return name + "@" + host
}

var (
	errDeclined = errors.New("nothing was done; confirm with y, or with --yes")
	errUnasked  = errors.New("nothing was done: this needs a confirmation, and there is no terminal to ask on; use --yes")
)

// confirm asks on a terminal, unless there is --yes. Without a terminal, it refuses.
func (o *operation) confirm(s *session, format string, args ...any) error {
	switch {
	case o.yes:
		return nil
	case !isTerminal(s.cmd.InOrStdin()):
		return errUnasked
	case !confirmed(s.cmd, visible(fmt.Sprintf(format, args...))):
		return errDeclined
	}
	return nil
}

// confirmed asks a question, and reports whether the answer was yes.
func confirmed(cmd *cobra.Command, question string) bool {
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
