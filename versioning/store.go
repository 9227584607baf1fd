package versioning

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
)

// A Store keeps the entities of one or more machines in PostgreSQL. It is safe
// for concurrent use, by several workers in any number of processes.
type Store struct {
	pool      *pgxpool.Pool
	schema    *schema
	tables    []*table
	byMachine map[string]*table
	rules     map[string]Rules
	types     *types
}

// Open is [OpenIn] for the schema pawl.
func Open(ctx context.Context, pool *pgxpool.Pool, tables ...Table) (*Store, error) {
	return OpenIn(ctx, pool, migrations.DefaultSchema, tables...)
}

// OpenIn returns a store of tables whose history, parked records and dead letters are
// in the framework's tables of a schema, such as one that each tenant has. Empty means
// pawl. The name is taken as it stands in the catalog, like [Table.Name].
//
// It checks that the database fits: that the schema has the version that this build
// needs ([migrations.SchemaError]), that each table has a key, a state and a version
// column that its machine can work with ([TableError]), and that no other table has
// the same machine in this schema ([MachineError]). All that does not fit is reported
// at once. The pool stays the caller's: the store does not close it.
//
// The role needs SELECT, INSERT and UPDATE on the tables, USAGE on the schema, SELECT
// on its goose_db_version, SELECT and INSERT on its transitions, SELECT, INSERT,
// UPDATE and DELETE on its parked, dead_letters and marks, and SELECT, INSERT and
// UPDATE on its caught_up and tables.
func OpenIn(ctx context.Context, pool *pgxpool.Pool, schema string, tables ...Table) (*Store, error) {
	if pool == nil {
		return nil, errors.New("open store: the pool is nil")
	}
	in := newSchema(schema)
	if err := errors.Join(in.Validate(), validate(tables)); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("open store: connect to PostgreSQL: %w", err)
	}
	defer conn.Release()
	s := &Store{
		pool:      pool,
		schema:    in,
		byMachine: make(map[string]*table, len(tables)),
		rules:     make(map[string]Rules, len(tables)),
		types:     &types{typ: pgtype.NewMap()},
	}
	problems := []error{in.check(ctx, conn)}
	for _, config := range tables {
		problems = append(problems, s.add(ctx, conn, config))
	}
	err = errors.Join(problems...)
	if err == nil {
		err = s.register(ctx, conn)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.link()
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
