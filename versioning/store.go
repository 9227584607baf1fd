package versioning

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
)

// A Store keeps the entities of one or more machines in PostgreSQL. It is safe
// for concurrent use, by several workers in any number of processes.
type Store struct {
	pool      *pgxpool.Pool
	tables    []*table
	byMachine map[string]*table
	rules     map[string]Rules
	types     *types
}

// Open checks that the database fits: that schema pawl has the version that
// this build needs ([migrations.SchemaError]), and that each table has a key,
// a state and a version column that its machine can work with ([TableError]).
// All that does not fit is reported at once. The pool stays the caller's: the
// store does not close it. It relies on nothing that a session keeps from one
// transaction to the next but prepared statements: behind a pooler in transaction
// mode, see [ErrPooler].
//
// The role needs SELECT, INSERT and UPDATE on the tables, USAGE on schema pawl,
// SELECT and INSERT on pawl.transitions, SELECT, INSERT, UPDATE and DELETE on
// pawl.parked, pawl.dead_letters and pawl.marks, and SELECT, INSERT and UPDATE on
// pawl.caught_up and pawl.tables.
func Open(ctx context.Context, pool *pgxpool.Pool, tables ...Table) (*Store, error) {
	if pool == nil {
		return nil, errors.New("open store: the pool is nil")
	}
	if err := validate(tables); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("open store: connect to PostgreSQL: %w", err)
	}
	defer conn.Release()
	s := &Store{
		pool:      pool,
		byMachine: make(map[string]*table, len(tables)),
		rules:     make(map[string]Rules, len(tables)),
		types:     &types{typ: pgtype.NewMap()},
	}
	problems := []error{checkSchema(ctx, conn)}
	for _, config := range tables {
		problems = append(problems, s.add(ctx, conn, config))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("open store: %w", throughPooler(err))
	}
	return s, nil
}

// validate checks what can be checked without the database.
func validate(tables []Table) error {
	if len(tables) == 0 {
		return errors.New("no table; give at least one versioning.Table")
	}
	var problems []error
	machines := make(map[string]bool)
	for i, t := range tables {
		if t.Machine == nil {
			problems = append(problems, fmt.Errorf("table %d (%q) has no Machine", i, t.Name))
			continue
		}
		name := t.Machine.Name()
		if t.Name == "" {
			problems = append(problems, fmt.Errorf("the table of machine %q has no Name", name))
		}
		if machines[name] {
			problems = append(problems, fmt.Errorf("machine %q has two tables", name))
		}
		machines[name] = true
		if t.MaxParked < 0 {
			problems = append(problems, fmt.Errorf("machine %q: MaxParked is %d; it must not be negative", name, t.MaxParked))
		}
		if t.Identity == ByState {
			if err := t.Machine.ProveStateIdentity(); err != nil {
				problems = append(problems, fmt.Errorf("machine %q can't tell duplicates by state: %w", name, err))
			}
		}
	}
	return errors.Join(problems...)
}

// checkSchema checks the version of schema pawl, and the role's rights on it.
func checkSchema(ctx context.Context, conn *pgxpool.Conn) error {
	if err := migrations.Check(ctx, conn); err != nil {
		return err
	}
	const query = `
SELECT t.name, t.rights, current_user FROM (VALUES
	('pawl.transitions', 'SELECT'), ('pawl.transitions', 'INSERT'),
	('pawl.parked', 'SELECT'), ('pawl.parked', 'INSERT'), ('pawl.parked', 'UPDATE'), ('pawl.parked', 'DELETE'),
	('pawl.dead_letters', 'SELECT'), ('pawl.dead_letters', 'INSERT'),
	('pawl.dead_letters', 'UPDATE'), ('pawl.dead_letters', 'DELETE'),
	('pawl.marks', 'SELECT'), ('pawl.marks', 'INSERT'), ('pawl.marks', 'UPDATE'), ('pawl.marks', 'DELETE'),
	('pawl.caught_up', 'SELECT'), ('pawl.caught_up', 'INSERT'), ('pawl.caught_up', 'UPDATE'),
	('pawl.tables', 'SELECT'), ('pawl.tables', 'INSERT'), ('pawl.tables', 'UPDATE')
) AS t(name, rights) WHERE NOT has_table_privilege(t.name, t.rights)`
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return fmt.Errorf("look for the rights on schema pawl: %w", err)
	}
	var name, right, user string
	var problems []error
	_, err = pgx.ForEachRow(rows, []any{&name, &right, &user}, func() error {
		problems = append(problems, &TableError{Table: name, Problem: fmt.Sprintf("role %s lacks %s; GRANT it", user, right)})
		return nil
	})
	return errors.Join(append(problems, err)...)
}

// machines returns the names of the store's machines.
func (s *Store) machines() []string {
	names := make([]string, len(s.tables))
	for i, t := range s.tables {
		names[i] = t.Machine.Name()
	}
	return names
}

func (s *Store) add(ctx context.Context, conn *pgxpool.Conn, config Table) error {
	t, err := inspect(ctx, conn, config)
	if err != nil {
		return err
	}
	s.types.learn(ctx, conn, t)
	s.tables = append(s.tables, t)
	s.byMachine[config.Machine.Name()] = t
	s.rules[config.Machine.Name()] = Rules{Machine: t.Machine, Identity: t.Identity, MaxParked: t.MaxParked}
	return nil
}
