package check

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Config says what [Run] compares.
type Config struct {
	// Tables are those of the new build: its machines are the new definitions. Required.
	Tables []postgres.Table

	// Old are the definitions in use, as [Read] returns them. nil means the newest ones that are
	// registered in the database. A machine that is not in Old is new.
	Old []statemachine.Outline

	// Pool is connected to the database. It may be nil if there is Old: then only definitions are
	// compared, and no rows are counted.
	Pool *pgxpool.Pool

	// Schema is the framework's schema. Empty means pawl.
	Schema string

	// History is how many entities' steps are folded through the new definition of each machine:
	// those of the entities that have moved last. 0 means none, negative means all.
	History int
}

var errNoTables = errors.New("no tables; set Config.Tables to those of your workers")

// errNoDatabase says that something needs a database.
var errNoDatabase = errors.New("no database, so there is nothing to compare with; set Config.Pool, or Config.Old to what Write has written")

func (c *Config) validate() error {
	problems := make([]error, 0, 3)
	if len(c.Tables) == 0 {
		problems = append(problems, errNoTables)
	}
	for i, t := range c.Tables {
		if t.Machine == nil {
			problems = append(problems, fmt.Errorf("table %d (%q) has no Machine", i, t.Name))
		}
	}
	if c.Pool == nil && c.Old == nil {
		problems = append(problems, errNoDatabase)
	}
	if c.Pool == nil && c.History != 0 {
		problems = append(problems, errors.New("the history is in the database; set Config.Pool"))
	}
	return errors.Join(problems...)
}

// Run compares the definitions of a new build with those in use. It writes nothing. An error
// means that it could not check; what it has found is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	r := runner{Config: cfg}
	if cfg.Pool != nil {
		var err error
		if r.db, err = postgres.OpenReader(ctx, cfg.Pool, cfg.Schema, cfg.Tables...); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	report := &Report{Machines: make([]Machine, len(cfg.Tables))}
	for i, t := range cfg.Tables {
		var err error
		if report.Machines[i], err = r.machine(ctx, t.Machine); err != nil {
			return nil, fmt.Errorf("check machine %q: %w", t.Machine.Name(), err)
		}
	}
	report.conclude()
	return report, nil
}

type runner struct {
	Config

	db *postgres.Reader // nil if there is no database
}

// machine checks one machine.
func (r *runner) machine(ctx context.Context, m *statemachine.Machine) (Machine, error) {
	found := Machine{Name: m.Name(), To: m.Version()}
	old, registered, err := r.inUse(ctx, m)
	if err != nil {
		return found, err
	}
	if old != nil {
		found.From = old.Version
		changes, err := statemachine.Compare(*old, m.Outline())
		if err != nil {
			return found, err //nolint:wrapcheck // it says which machines
		}
		found.addChanges(changes.Changes)
		found.sameVersion(old, m)
	}
	for i := range registered {
		if o := &registered[i].Outline; o.Version == m.Version() {
			found.sameVersion(o, m)
		}
	}
	if r.db == nil {
		return found, nil
	}
	if err := r.rows(ctx, m, registered, &found); err != nil {
		return found, err
	}
	if r.History != 0 {
		f := newFold(m)
		if err := r.db.History(ctx, m.Name(), r.History, f.step); err != nil {
			return found, err //nolint:wrapcheck // it says what failed
		}
		found.History = f.end()
	}
	return found, nil
}

// inUse returns the definition in use, nil if there is none, and those that are registered.
func (r *runner) inUse(ctx context.Context, m *statemachine.Machine) (old *statemachine.Outline, registered []postgres.Definition, err error) {
	if r.db != nil {
		if registered, err = r.db.Definitions(ctx, m.Name()); err != nil {
			return nil, nil, err //nolint:wrapcheck // it says what failed
		}
	}
	for i := range r.Old {
		if r.Old[i].Name == m.Name() {
			old = &r.Old[i]
		}
	}
	if r.Old != nil {
		return old, registered, nil
	}
	for i := range registered {
		if !registered[i].Withdrawn {
			old = &registered[i].Outline // they are sorted by version
		}
	}
	return old, registered, nil
}

// sameVersion notes that a worker would refuse to start, because its version is known with
// another content.
func (m *Machine) sameVersion(old *statemachine.Outline, machine *statemachine.Machine) {
	if old.Version == machine.Version() && old.Hash() != machine.Outline().Hash() {
		m.Refused = fmt.Sprintf("version %d is in use with another definition, so workers refuse to start: increase Definition.Version", old.Version)
	}
}

// rows counts the rows that the new definition does not know or migrates. As when a store is
// opened, newer definitions that are registered speak for their states.
func (r *runner) rows(ctx context.Context, m *statemachine.Machine, registered []postgres.Definition, found *Machine) error {
	known := m.States()
	for _, d := range registered {
		if !d.Withdrawn && d.Outline.Version > m.Version() {
			known = append(append(known, d.Outline.States...), d.Outline.Retired...)
		}
	}
	counts, sampled, err := r.db.CountStates(ctx, m.Name(), known...)
	if err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	outline := m.Outline()
	isDefined := func(s statemachine.State) bool {
		return slices.ContainsFunc(registered, func(d postgres.Definition) bool { return d.Outline.Knows(s) })
	}
	isRegistered := slices.ContainsFunc(registered, func(d postgres.Definition) bool { return d.Outline.Version == m.Version() })
	for _, c := range counts {
		if isRegistered && !outline.Knows(c.State) && !isDefined(c.State) {
			continue // somebody has set it by hand, which does not keep a known version from starting
		}
		found.Rows = append(found.Rows, Rows{State: c.State, Rows: c.Rows, Keys: c.Keys, Stranded: !outline.Knows(c.State)})
	}
	found.Sampled = sampled
	return nil
}

func (m *Machine) addChanges(changes []statemachine.Change) {
	for _, c := range changes {
		m.Changes = append(m.Changes, Change{c.Effect.String(), c.State, c.Event, c.Detail})
	}
}
