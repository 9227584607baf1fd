package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
)

// This file keeps the definitions of machines in pawl.machines.

// A Definition is a row of pawl.machines: a definition that a store has opened.
type Definition struct {
	Outline   statemachine.Outline
	Hash      string // of the outline
	Withdrawn bool

	// At is when a store opened it for the first time, and By the database role that did.
	At time.Time
	By string
}

// ErrDefinition matches every [*DefinitionError] and [*StrandedError], by [errors.Is].
var ErrDefinition = errors.New("the machine's definition can't be used with this database")

// A DefinitionError says that a machine's definition is not the one that was registered under
// its version. Open returns it.
type DefinitionError struct {
	Machine string
	Version int

	// Changes are the differences, from the registered definition to this one.
	Changes statemachine.Comparison
}

func (e *DefinitionError) Error() string {
	return fmt.Sprintf("machine %q: version %d was registered with another definition; increase Definition.Version, or go back to the other one. The differences: %s",
		e.Machine, e.Version, e.Changes)
}

// Is reports whether target is [ErrDefinition].
func (e *DefinitionError) Is(target error) bool { return target == ErrDefinition }

// A StrandedError says that a table has rows in states that the machine's definition does not
// know, and no newer registered one does. Open returns it.
type StrandedError struct {
	Machine string
	Version int
	Table   string

	// States has these states. If Sampled, the table is large and has no index on its state
	// column, so only a sample of its rows was read, and there may be more states.
	States  []StateCount
	Sampled bool
}

func (e *StrandedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s has rows in states that version %d of machine %q does not know", e.Table, e.Version, e.Machine)
	if e.Sampled {
		b.WriteString(" (in a sample of its rows)")
	}
	for _, s := range e.States {
		fmt.Fprintf(&b, "; %d in %q, such as %s: declare Migrations: []statemachine.Migration{{From: statemachine.In(%[2]q), To: ...}}, or correct the rows",
			s.Rows, s.State, strings.Join(s.Keys, ", "))
	}
	return b.String()
}

// Is reports whether target is [ErrDefinition].
func (e *StrandedError) Is(target error) bool { return target == ErrDefinition }

// Definitions returns the registered definitions of a machine, by version.
func (s *Store) Definitions(ctx context.Context, machine string) ([]Definition, error) {
	all, err := s.schema.readDefinitions(ctx, s.pool, []string{machine})
	if err != nil {
		return nil, withCause(err)
	}
	return all[machine], nil
}

// readDefinitions returns the registered definitions of machines, by version.
func (s *schema) readDefinitions(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, machines []string,
) (map[string][]Definition, error) {
	rows, err := db.Query(ctx, s.sql(readDefinitionsSQL), oneMessage, machines)
	all := make(map[string][]Definition)
	if err == nil {
		var name string
		var text []byte
		var d Definition
		_, err = pgx.ForEachRow(rows, []any{&name, &d.Hash, &d.Withdrawn, &d.At, &d.By, &text}, func() error {
			d.Outline = statemachine.Outline{}
			if err := json.Unmarshal(text, &d.Outline); err != nil {
				return fmt.Errorf("the outline of %q: %w", name, err)
			}
			all[name] = append(all[name], d)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read %s.machines: %w", s, err)
	}
	return all, nil
}

const readDefinitionsSQL pawlSQL = `
SELECT name, hash, withdrawn, at, by, outline FROM pawl.machines WHERE name = ANY ($1) ORDER BY name, version`

// Withdraw gives up a version of a machine: workers with older versions no longer keep records
// for it, and no longer tolerate rows in states that only it knows when they start. Do it when
// its workers have been replaced by older ones. A worker that opens the version again takes it
// back. It returns false if the version is not registered.
func (s *Store) Withdraw(ctx context.Context, machine string, version int) (bool, error) {
	tag, err := s.pool.Exec(ctx, s.schema.sql(withdrawSQL), oneMessage, machine, version)
	if err != nil {
		return false, withCause(fmt.Errorf("withdraw version %d of machine %q: %w", version, machine, err))
	}
	return tag.RowsAffected() > 0, nil
}

const withdrawSQL pawlSQL = `UPDATE pawl.machines SET withdrawn = true WHERE name = $1::text AND version = $2::integer`

// readMachines reads the definitions of the snapshot's machines, and tells the fold about newer
// ones.
func (s *snapshot) readMachines(ctx context.Context, conn *pgxpool.Conn) error {
	all, err := s.schema.readDefinitions(ctx, conn, s.machines())
	if err != nil {
		return err
	}
	for _, t := range s.tables {
		name := t.Machine.Name()
		t.definitions = all[name]
		rules := s.rules[name]
		for _, d := range t.definitions {
			if !d.Withdrawn && d.Outline.Version > t.Machine.Version() {
				rules.Newer = append(rules.Newer, d.Outline)
			}
		}
		s.rules[name] = rules
	}
	return nil
}

// own returns the registered definition with the version of the table's machine.
func (t *table) own() (d Definition, ok bool) {
	i := slices.IndexFunc(t.definitions, func(d Definition) bool { return d.Outline.Version == t.Machine.Version() })
	if i < 0 {
		return d, false
	}
	return t.definitions[i], true
}

// checkDefinitions checks that the machines are those that are registered under their versions.
func (s *snapshot) checkDefinitions() error {
	problems := make([]error, len(s.tables))
	for i, t := range s.tables {
		problems[i] = t.checkDefinition()
	}
	return errors.Join(problems...)
}

func (t *table) checkDefinition() error {
	mine := t.Machine.Outline()
	own, ok := t.own()
	if !ok || own.Hash == mine.Hash() {
		return nil
	}
	changes, err := statemachine.Compare(own.Outline, mine)
	if err != nil {
		return err //nolint:wrapcheck // the names are equal
	}
	return &DefinitionError{t.Machine.Name(), mine.Version, changes}
}

// checkStranded checks the rows of the tables.
func (s *snapshot) checkStranded(ctx context.Context, conn *pgxpool.Conn) error {
	problems := make([]error, len(s.tables))
	for i, t := range s.tables {
		problems[i] = s.checkRows(ctx, conn, t)
	}
	return errors.Join(problems...)
}

// checkRows checks that no row is in a state that neither the machine nor a newer one knows. A
// state that no registered definition knows was set by hand. It does not keep workers of a
// registered version from starting again.
func (s *snapshot) checkRows(ctx context.Context, conn *pgxpool.Conn, t *table) error {
	_, isRegistered := t.own()
	known := slices.Concat(t.Machine.States(), t.Machine.Retired())
	var others []statemachine.State
	for _, d := range t.definitions {
		if d.Outline.Version > t.Machine.Version() && !d.Withdrawn {
			known = slices.Concat(known, d.Outline.States, d.Outline.Retired)
		} else {
			others = slices.Concat(others, d.Outline.States, d.Outline.Retired)
		}
	}
	found := &StrandedError{Machine: t.Machine.Name(), Version: t.Machine.Version(), Table: t.Name}
	var err error
	if found.States, found.Sampled, err = t.countStates(ctx, conn, known); err != nil {
		return err
	}
	if isRegistered {
		found.States = slices.DeleteFunc(found.States, func(f StateCount) bool { return !slices.Contains(others, f.State) })
	}
	if len(found.States) > 0 {
		return found
	}
	return nil
}

// registerMachines registers the definitions of the tables' machines. It reports whether any of
// them was not registered before.
func (s *snapshot) registerMachines(ctx context.Context, conn *pgxpool.Conn) (added bool, err error) {
	var names, hashes, revisions, outlines []string
	var versions []int32
	for _, t := range s.tables {
		if own, ok := t.own(); ok && !own.Withdrawn {
			continue
		}
		mine := t.Machine.Outline()
		text, err := json.Marshal(mine)
		if err != nil {
			return false, fmt.Errorf("encode the outline of machine %q: %w", mine.Name, err)
		}
		names, versions, hashes = append(names, mine.Name), append(versions, int32(mine.Version)), append(hashes, mine.Hash())
		revisions, outlines = append(revisions, mine.Revision), append(outlines, string(text))
	}
	if len(names) == 0 {
		return false, nil
	}
	if _, err := conn.Exec(ctx, s.schema.sql(registerMachinesSQL), oneMessage, names, versions, hashes, revisions, outlines); err != nil {
		return false, fmt.Errorf("register the definitions in %s.machines: %w", s.schema, err)
	}
	return true, nil
}

// registerMachinesSQL keeps what another worker has registered first.
const registerMachinesSQL pawlSQL = `
INSERT INTO pawl.machines AS m (name, version, hash, revision, outline)
SELECT u.name, u.version, u.hash, u.revision, u.outline
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::jsonb[]) AS u(name, version, hash, revision, outline)
ORDER BY u.name
ON CONFLICT (name, version) DO UPDATE SET withdrawn = false WHERE m.withdrawn`
