package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning"
)

// A Store keeps the entities of one or more machines in PostgreSQL. It is safe for
// concurrent use, by any number of workers in any number of processes.
type Store struct {
	pool    *pgxpool.Pool
	schema  *schema
	configs []Table

	readOnly bool // it belongs to a Rehearsal

	renewing sync.Mutex
	snapshot atomic.Pointer[snapshot]

	refusing atomic.Bool // PostgreSQL refused a large part of the last batch

	calls  *calls     // of Do
	watch  timerWatch // of FireTimers
	outbox *outbox

	contended atomic.Int64
}

// A snapshot is what a store knows from the catalog about its tables. If a table is
// altered, the store reads a new snapshot.
type snapshot struct {
	pool      *pgxpool.Pool
	schema    *schema
	tables    []*table
	byMachine map[string]*table
	rules     map[string]versioning.Rules
	types     *types

	outbox            *outbox
	hashed            bool // the history's primary key includes hashes of messages
	memory            *memory
	contended         *atomic.Int64 // the store's
	plain, plainSplit *prepared     // for records that need nothing else; plainSplit for those in one of several lists
}

// Open is [OpenIn] for the schema pawl.
func Open(ctx context.Context, pool *pgxpool.Pool, tables ...Table) (*Store, error) {
	return OpenIn(ctx, pool, migrations.DefaultSchema, tables...)
}

// OpenIn returns a store of tables whose history, parked records and dead letters are
// in the framework's tables of a schema, such as the one of a tenant. An empty schema
// means pawl. The name is spelled as in the catalog, like [Table.Name].
//
// OpenIn checks the database: that this build works with the version of the schema
// ([migrations.SchemaError]), that each table has a key, a state and a version column
// that fit its machine ([TableError]), and that no other table has the same machine in
// this schema ([MachineError]). It reports all problems at once. The pool belongs to
// the caller: the store does not close it.
//
// The package documentation lists the rights that the role needs.
//
// The tables may be altered while the store is open: the store reads the catalog again,
// and judges the current batch again. While a table does not fit its machine, the store
// settles nothing. Its errors then have the cause Infrastructure and say what is wrong
// with the table.
func OpenIn(ctx context.Context, pool *pgxpool.Pool, schema string, tables ...Table) (*Store, error) {
	if pool == nil {
		return nil, errors.New("open store: the pool is nil")
	}
	in := newSchema(schema)
	if err := errors.Join(in.Validate(), validate(tables)); err != nil {
		return nil, withCause(fmt.Errorf("open store: %w", err))
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, withCause(fmt.Errorf("open store: connect to PostgreSQL; check that it runs and that the pool's connection string is right: %w", err))
	}
	defer conn.Release()
	s := &Store{pool: pool, schema: in, configs: slices.Clone(tables), outbox: &outbox{}}
	s.calls = newCalls(func(ctx context.Context, records []*versioning.Record) (versioning.Result, error) {
		return s.apply(ctx, "", records, false)
	})
	unfit := errors.Join(in.check(ctx, conn, tables), s.prepareOutbox(ctx, conn))
	if unfit != nil { // nothing can be registered, but the tables may have problems too
		_, err = s.readTables(ctx, conn, nil)
		return nil, withCause(fmt.Errorf("open store: %w", throughPooler(errors.Join(unfit, err))))
	}
	e, err := s.inspect(ctx, conn)
	if err == nil {
		e, err = s.define(ctx, conn, e)
	}
	if err != nil {
		return nil, withCause(fmt.Errorf("open store: %w", throughPooler(err)))
	}
	s.snapshot.Store(e)
	return s, nil
}

// inspect reads a snapshot from the catalog and registers its tables.
func (s *Store) inspect(ctx context.Context, conn *pgxpool.Conn) (*snapshot, error) {
	e, err := s.read(ctx, conn)
	if err == nil {
		err = e.register(ctx, conn)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// define checks the definitions of a snapshot's machines, and registers them. If that changes
// what is registered, it returns a new snapshot.
func (s *Store) define(ctx context.Context, conn *pgxpool.Conn, e *snapshot) (*snapshot, error) {
	if err := errors.Join(e.checkDefinitions(), e.checkStranded(ctx, conn)); err != nil {
		return nil, err
	}
	added, err := e.registerMachines(ctx, conn)
	if err != nil || !added {
		return e, err
	}
	if e, err = s.inspect(ctx, conn); err != nil {
		return nil, err
	}
	// Another worker may have registered another definition of the same version just before.
	err = e.checkDefinitions()
	return e, err
}

// read reads a snapshot from the catalog. Its error joins all problems.
func (s *Store) read(ctx context.Context, conn *pgxpool.Conn) (*snapshot, error) {
	e, err := s.readTables(ctx, conn, s.schema)
	if err != nil {
		return nil, err
	}
	if err := e.readMachines(ctx, conn); err != nil {
		return nil, err
	}
	// A Rehearsal judges records that it has kept, of whose messages the batch does not know when it
	// reads. That it needs no hashes is a precaution.
	if e.hashed, err = s.schema.isHashed(ctx, conn); err != nil || s.readOnly {
		e.hashed = false
	}
	if err != nil {
		return nil, err
	}
	e.link()
	return e, nil
}

// readTables reads what the catalog says about the tables. If in is nil, table machines is not read.
func (s *Store) readTables(ctx context.Context, conn *pgxpool.Conn, in *schema) (*snapshot, error) {
	e := &snapshot{
		pool:      s.pool,
		schema:    s.schema,
		outbox:    s.outbox,
		memory:    newMemory(),
		contended: &s.contended,
		byMachine: make(map[string]*table, len(s.configs)),
		rules:     make(map[string]versioning.Rules, len(s.configs)),
		types:     newTypes(),
	}
	e.plain, e.plainSplit = &prepared{by: e}, &prepared{by: e, split: true}
	var problems []error
	for _, config := range s.configs {
		problems = append(problems, e.add(ctx, conn, in, config, s.readOnly))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return e, nil
}

// validate checks what needs no database.
func validate(tables []Table) error {
	if len(tables) == 0 {
		return errors.New("no tables; pass at least one postgres.Table")
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
		if t.KeepUnknown < 0 {
			problems = append(problems, fmt.Errorf("machine %q: KeepUnknown is %v; it must not be negative", name, t.KeepUnknown))
		}
		problems = append(problems, validateOutbox(t))
		if t.Identity == versioning.ByState {
			if err := t.Machine.ProveStateIdentity(); err != nil {
				problems = append(problems, fmt.Errorf("machine %q can't use identity ByState: %w", name, err))
			}
		}
	}
	return errors.Join(problems...)
}

// machines returns the names of the store's machines.
func (s *snapshot) machines() []string {
	names := make([]string, len(s.tables))
	for i, t := range s.tables {
		names[i] = t.Machine.Name()
	}
	return names
}

func (s *snapshot) add(ctx context.Context, conn *pgxpool.Conn, in *schema, config Table, readOnly bool) error {
	t, err := inspect(ctx, conn, in, config, readOnly)
	if err != nil {
		return err
	}
	s.types.learn(ctx, conn, t)
	rules := versioning.Rules{
		Machine: t.Machine, Identity: t.Identity, MaxParked: t.MaxParked, KeepUnknown: t.KeepUnknown > 0,
		Encode: t.Encode, ContentType: t.ContentType, PassHeaders: t.PassHeaders, TextKeys: t.Outbox == Debezium, CheckJob: t.checkJob(),
	}
	t.rows, err = t.newRowType(s.types)
	functions, problem := versioning.NewFunctions(t.Machine, t.rows)
	if problem != nil && (err == nil || t.rows != nil) { // otherwise newRowType has found the same problems
		err = errors.Join(err, t.problem("", "its machine's functions can't be used: %v", problem))
	}
	if err != nil {
		return err
	}
	rules.Functions = functions
	s.tables = append(s.tables, t)
	s.byMachine[config.Machine.Name()] = t
	s.rules[config.Machine.Name()] = rules
	return nil
}
