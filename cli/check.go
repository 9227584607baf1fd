package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/statemachine"
)

// A checker is the command check.
type checker struct {
	*Config

	database database
	file     string
	write    string
	output   string
	history  int
	strict   bool
}

func checkCommand(cfg *Config) *cobra.Command {
	c := &checker{Config: cfg}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare this build's state machines with those in use, before you deploy it",
		Long: `Compare this build's state machines with those in use, before you deploy it.

The machines in use are the newest ones that workers have registered in the
database, or those in a file that check --write has written. With a database,
rows that the new machines would strand are counted too. check writes nothing
to the database.

The exit status is 0 if the new machines are safe, 1 if not, and 2 if that
could not be checked.`,
		Example: `  check                        compare with the database
  check --history 10000        and fold the steps of the last 10,000 entities
  check --write machines.json  keep the machines in a file
  check --file machines.json   compare with the file`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	c.database.flag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&c.file, "file", "", "compare with the machines in this `file`, which --write has written")
	flags.StringVar(&c.write, "write", "", "write the machines of this build to a `file`, and check nothing")
	flags.IntVar(&c.history, "history", 0, "fold the steps of the last `n` entities of each machine through its new definition; -1 means all")
	flags.StringVar(&c.output, "output", "text", "text or json")
	flags.BoolVar(&c.strict, "strict", false, "also fail if some records would have another outcome")
	return cmd
}

func (c *checker) run(ctx context.Context, out io.Writer) error {
	if c.output != "text" && c.output != "json" {
		return fmt.Errorf("unknown output %q; use text or json", c.output)
	}
	if c.write != "" {
		return c.writeFile(out)
	}
	cfg := check.Config{Tables: c.Tables, Schema: c.Schema, History: c.history}
	if c.file != "" {
		var err error
		if cfg.Old, err = readFile(c.file); err != nil {
			return err
		}
	}
	if c.file == "" || c.history != 0 || c.database.isSet() {
		pool, err := c.database.pool(ctx)
		if err != nil {
			return err
		}
		defer pool.Close()
		cfg.Pool = pool
	}
	return c.report(ctx, cfg, out)
}

func (c *checker) report(ctx context.Context, cfg check.Config, out io.Writer) error {
	report, err := check.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if c.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		_, err = io.WriteString(out, report.String())
	}
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return report.Err(c.strict)
}

func (c *checker) writeFile(out io.Writer) error {
	machines := make([]*statemachine.Machine, len(c.Tables))
	for i, t := range c.Tables {
		machines[i] = t.Machine
	}
	f, err := os.Create(c.write)
	if err != nil {
		return err
	}
	if err := check.Write(f, machines...); err != nil {
		f.Close() //nolint:errcheck // the first error says what is wrong
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s has the definitions of %d machines\n", c.write, len(machines))
	return nil
}

func readFile(name string) ([]statemachine.Outline, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	outlines, err := check.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return outlines, nil
}
