package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A definitionView is a registered definition as JSON.
type definitionView struct {
	Machine    string    `json:"machine"`
	Version    int       `json:"version"`
	Withdrawn  bool      `json:"withdrawn"`
	Registered time.Time `json:"registered_at"`
	By         string    `json:"registered_by"`
	Hash       string    `json:"hash"`
	Table      string    `json:"table,omitempty"`

	Outline *statemachine.Outline `json:"outline,omitempty"`
}

func machineCommand(cfg *Config) *cobra.Command {
	return group("machine", "Show, draw and compare the registered machines", showMachineCommand(cfg), diagramCommand(cfg), compareCommand(cfg))
}

func showMachineCommand(cfg *Config) *cobra.Command {
	i := &inspection{Config: cfg}
	version := 0
	cmd := i.command("show [MACHINE]", "Show the registered versions of machines, or one definition", `Show the registered versions of all machines, or what one version of a machine
allows: by default the newest one that was not withdrawn.

JSON has an array of: machine, version, withdrawn, registered_at, registered_by,
hash, table, and for one machine its outline. The exit status is 1 if there is no
such machine or version.`,
		`  machine show
  machine show order --version 2`, cobra.MaximumNArgs(1), func(ctx context.Context, s *session) error {
			return showMachines(ctx, s, version)
		})
	cmd.Flags().IntVar(&version, "version", 0, "`number` of the version (default the newest)")
	cmd.ValidArgsFunction = i.machineNames
	return cmd
}

func showMachines(ctx context.Context, s *session, version int) error {
	machines, err := s.op.Machines(ctx)
	if err != nil {
		return err
	}
	views := []definitionView{}
	for _, m := range machines {
		for _, d := range m.Definitions {
			views = append(views, definitionView{m.Name, d.Outline.Version, d.Withdrawn, d.At.UTC(), d.By, d.Hash, m.Table, nil})
		}
	}
	if len(s.args) > 0 {
		d, err := findDefinition(ctx, s.op, s.args[0], version)
		if err != nil {
			return err
		}
		views = slices.DeleteFunc(views, func(v definitionView) bool { return v.Machine != s.args[0] || v.Version != d.Outline.Version })
		views[0].Outline = &d.Outline
	}
	if s.isJSON {
		return s.json(views)
	}
	if len(views) == 0 {
		s.line("no machine is registered; workers register theirs when they start")
		return nil
	}
	rows := [][]string{{"MACHINE", " VERSION", "REGISTERED", "BY", "TABLE", ""}}
	for _, v := range views {
		note := ""
		if v.Withdrawn {
			note = "withdrawn"
		}
		rows = append(rows, []string{v.Machine, strconv.Itoa(v.Version), s.ago(v.Registered), v.By, orDash(v.Table), note})
	}
	s.table(rows)
	if o := views[0].Outline; o != nil {
		printOutline(s.printer, o)
	}
	return nil
}

func printOutline(p *printer, o *statemachine.Outline) {
	rows := [][]string{{"FROM", "EVENT", "TO", "WHEN", "AFTER"}}
	for _, a := range o.Arrows {
		from := string(a.From)
		if a.From == statemachine.None {
			from = "(new)"
		}
		for _, t := range a.Targets {
			rows = append(rows, []string{from, string(a.Event), string(t.To), t.When, a.After})
		}
	}
	p.line("")
	p.table(rows)
	p.line("\nterminal states: %s", visible(stateNames(o.Terminal)))
	if len(o.Retired) > 0 {
		p.line("retired states: %s", visible(stateNames(o.Retired)))
	}
}

func stateNames(states []statemachine.State) string {
	var names []string
	for _, s := range states {
		names = append(names, string(s))
	}
	return orDash(strings.Join(names, ", "))
}

// findDefinition returns a registered definition. Version 0 is the newest one that was not
// withdrawn.
func findDefinition(ctx context.Context, op *postgres.Operator, machine string, version int) (found postgres.Definition, err error) {
	all, err := op.Definitions(ctx, machine)
	if err != nil {
		return found, err //nolint:wrapcheck // it says what failed
	}
	ok := false
	for _, d := range all { // by version
		if d.Outline.Version == version || version == 0 && !d.Withdrawn {
			found, ok = d, true
		}
	}
	switch {
	case ok:
		return found, nil
	case version == 0:
		return found, absent("machine %q is not registered", machine)
	}
	return found, absent("version %d of machine %q is not registered", version, machine)
}

func diagramCommand(cfg *Config) *cobra.Command {
	i := &inspection{Config: cfg}
	version, format := 0, ""
	cmd := i.command("diagram MACHINE", "Draw a registered machine, for Mermaid or Graphviz", `Draw a registered machine, for Mermaid or Graphviz. JSON has: machine, version,
diagram. The exit status is 1 if there is no such machine or version.`,
		`  machine diagram order > order.mmd
  machine diagram order --format graphviz | dot -Tsvg > order.svg`, cobra.ExactArgs(1), func(ctx context.Context, s *session) error {
			if format != "mermaid" && format != "graphviz" {
				return fmt.Errorf("unknown format %q; use mermaid or graphviz", format)
			}
			d, err := findDefinition(ctx, s.op, s.args[0], version)
			if err != nil {
				return err
			}
			diagram := d.Outline.Mermaid()
			if format == "graphviz" {
				diagram = d.Outline.Graphviz()
			}
			if s.isJSON {
				return s.json(map[string]any{"machine": d.Outline.Name, "version": d.Outline.Version, "diagram": diagram})
			}
			fmt.Fprint(s.to, diagram)
			return nil
		})
	cmd.Flags().IntVar(&version, "version", 0, "`number` of the version (default the newest)")
	cmd.Flags().StringVar(&format, "format", "mermaid", "mermaid or graphviz")
	complete(cmd, "format", "mermaid", "graphviz")
	cmd.ValidArgsFunction = i.machineNames
	return cmd
}

// A comparer is the command machine check.
type comparer struct {
	inspection

	from, to int
	file     string
}

func compareCommand(cfg *Config) *cobra.Command {
	c := &comparer{inspection: inspection{Config: cfg}}
	cmd := c.command("check MACHINE", "Compare two registered versions of a machine, or a file with the newest", `Compare two registered versions of a machine, or the machine in a file, which the
command check --write of a program has written, with a registered version. It
compares definitions only: the command check of a program also counts rows.

JSON has: machine, from, to, changes (effect, state, event, detail), safe. The exit
status is 1 if the change strands entities, or if there is no such machine or
version.`,
		`  machine check order --from 1 --to 2
  machine check order --file machines.json`, cobra.ExactArgs(1), c.run)
	flags := cmd.Flags()
	flags.IntVar(&c.from, "from", 0, "`number` of the earlier version (default the one before, or with --file the newest)")
	flags.IntVar(&c.to, "to", 0, "`number` of the later version (default the newest)")
	flags.StringVar(&c.file, "file", "", "compare with the machine in this `file`")
	cmd.ValidArgsFunction = c.machineNames
	return cmd
}

func (c *comparer) run(ctx context.Context, s *session) error {
	if c.file != "" && c.to != 0 {
		return errors.New("--to and --file both say what to compare with; use one of them")
	}
	later, err := c.later(ctx, s)
	if err != nil {
		return err
	}
	from := c.from
	if from == 0 && c.file == "" {
		all, err := s.op.Definitions(ctx, s.args[0])
		if err != nil {
			return err
		}
		for _, d := range all {
			if d.Outline.Version < later.Version {
				from = d.Outline.Version
			}
		}
		if from == 0 {
			return absent("version %d of machine %q is the first, so there is nothing to compare", later.Version, later.Name)
		}
	}
	earlier, err := findDefinition(ctx, s.op, s.args[0], from)
	if err != nil {
		return err
	}
	found, err := statemachine.Compare(earlier.Outline, later)
	if err != nil {
		return err
	}
	return c.report(s, found)
}

// later returns the later definition.
func (c *comparer) later(ctx context.Context, s *session) (o statemachine.Outline, err error) {
	if c.file == "" {
		d, err := findDefinition(ctx, s.op, s.args[0], c.to)
		return d.Outline, err
	}
	outlines, err := readFile(c.file)
	if err != nil {
		return o, err
	}
	at := slices.IndexFunc(outlines, func(o statemachine.Outline) bool { return o.Name == s.args[0] })
	if at < 0 {
		return o, absent("%s has no machine %q", c.file, s.args[0])
	}
	return outlines[at], nil
}

func (c *comparer) report(s *session, found statemachine.Comparison) error {
	safe := len(found.Stranding()) == 0
	if s.isJSON {
		changes := []check.Change{}
		for _, change := range found.Changes {
			changes = append(changes, check.Change{Effect: change.Effect.String(), State: change.State, Event: change.Event, Detail: change.Detail})
		}
		if err := s.json(map[string]any{"machine": found.Name, "from": found.From, "to": found.To, "changes": changes, "safe": safe}); err != nil {
			return err
		}
	} else {
		s.line("%s", lines(found.String(), ""))
	}
	if !safe {
		return errors.Join(check.ErrUnsafe)
	}
	return nil
}
