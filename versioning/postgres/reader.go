package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
)

// A Reader reads what a database has of some machines: their registered definitions, their rows
// by state, and their history. Unlike a [Store] it writes nothing, so it registers no definition,
// and refuses none. Package check uses it. It is safe for concurrent use.
type Reader struct {
	pool   *pgxpool.Pool
	schema *schema
	tables map[string]*table
}

// OpenReader opens a reader. Empty schema means pawl, as for [OpenIn]. The role needs SELECT on
// the tables and on tables machines, transitions and goose_db_version of the framework's schema.
// OpenReader reports all problems at once.
func OpenReader(ctx context.Context, pool *pgxpool.Pool, schema string, tables ...Table) (*Reader, error) {
	if pool == nil {
		return nil, errors.New("open reader: the pool is nil")
	}
	r := &Reader{pool: pool, schema: newSchema(schema), tables: make(map[string]*table)}
	if err := errors.Join(r.schema.Validate(), validate(tables)); err != nil {
		return nil, withCause(fmt.Errorf("open reader: %w", err))
	}
	err := connected(ctx, pool, func(conn *pgxpool.Conn) error {
		problems := []error{r.schema.Check(ctx, conn)}
		for _, config := range tables {
			t, err := lookAt(ctx, conn, config)
			r.tables[config.Machine.Name()], problems = t, append(problems, err)
		}
		return errors.Join(problems...)
	})
	if err != nil {
		return nil, withCause(fmt.Errorf("open reader: %w", throughPooler(err)))
	}
	return r, nil
}

// lookAt reads from the catalog what is needed to read a table.
func lookAt(ctx context.Context, conn *pgxpool.Conn, config Table) (*table, error) {
	t := &table{Table: config.withDefaults(), ident: pgx.Identifier(strings.Split(config.Name, ".")).Sanitize()}
	if err := t.relation(ctx, conn, false); err != nil {
		return nil, err
	}
	if err := t.readColumns(ctx, conn); err != nil {
		return nil, fmt.Errorf("read the columns of table %s from the catalog: %w", t.Name, err)
	}
	return t, errors.Join(t.checkKey(), t.checkState())
}

// table returns the table of a machine.
func (r *Reader) table(machine string) (*table, error) {
	t, ok := r.tables[machine]
	if !ok {
		return nil, fmt.Errorf("the reader has no table for machine %q", machine)
	}
	return t, nil
}

// Definitions returns the registered definitions of a machine, by version.
func (r *Reader) Definitions(ctx context.Context, machine string) ([]Definition, error) {
	all, err := r.schema.readDefinitions(ctx, r.pool, []string{machine})
	if err != nil {
		return nil, withCause(err)
	}
	return all[machine], nil
}

// CountStates counts the rows of a machine in states other than the given ones, by state. If
// the table is large and has no index on its state column, it counts a sample of the rows, and
// sampled is true.
func (r *Reader) CountStates(ctx context.Context, machine string, except ...statemachine.State) (states []StateCount, sampled bool, err error) {
	t, err := r.table(machine)
	if err != nil {
		return nil, false, err
	}
	err = connected(ctx, r.pool, func(conn *pgxpool.Conn) error {
		states, sampled, err = t.countStates(ctx, conn, except)
		return err
	})
	return states, sampled, withCause(err)
}

// A HistoryStep is a step in the history of an entity.
type HistoryStep struct {
	Key      string // of the entity
	Version  int64  // of the row after the step
	Event    statemachine.Event
	From, To statemachine.State
}

// History calls step for each step of entities of a machine, in the order of their keys and
// versions. The entities are the last ones that have moved, at most as many as entities says;
// negative means all. The step is only valid during the call. If step returns an error, History
// returns it.
//
// Which entities have moved last is decided by where their steps are in the table. That is exact
// for a table from which nothing was ever deleted.
func (r *Reader) History(ctx context.Context, machine string, entities int, step func(*HistoryStep) error) error {
	if entities == 0 {
		return nil
	}
	var keys []string // nil means all
	if entities > 0 {
		var err error
		if keys, err = r.recentKeys(ctx, machine, entities); err != nil {
			return withCause(fmt.Errorf("look for the last entities in the history: %w", err))
		}
		if len(keys) == 0 {
			return nil
		}
	}
	sql := r.schema.sql(readAllStepsSQL)
	args := []any{oneMessage, machine}
	if keys != nil {
		slices.Sort(keys)
		sql, args = r.schema.sql(readStepsOfSQL), append(args, keys)
	}
	rows, err := r.pool.Query(ctx, sql, args...)
	if err == nil {
		err = eachStep(rows, step)
	}
	if err != nil {
		return withCause(fmt.Errorf("read the history: %w", err))
	}
	return nil
}

const (
	readAllStepsSQL pawlSQL = `
SELECT entity, version, event, from_state, to_state FROM pawl.transitions WHERE machine = $1 ORDER BY entity, version`

	// readStepsOfSQL reads the steps of the entities $2, which are sorted. The subquery makes it
	// look up one after the other, so nothing has to be sorted.
	readStepsOfSQL pawlSQL = `
SELECT u.entity, t.version, t.event, t.from_state, t.to_state
FROM unnest($2::text[]) AS u(entity)
CROSS JOIN LATERAL (
	SELECT version, event, from_state, to_state FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 ORDER BY version OFFSET 0
) AS t`
)

// eachStep calls step for each row. Events and states are few, so each is allocated once, and a
// key once for its entity.
func eachStep(rows pgx.Rows, step func(*HistoryStep) error) error {
	var s HistoryStep
	var key, event, from, to pgtype.DriverBytes
	events, states := make(map[string]statemachine.Event), make(map[string]statemachine.State)
	_, err := pgx.ForEachRow(rows, []any{&key, &s.Version, &event, &from, &to}, func() error {
		if s.Key != string(key) {
			s.Key = string(key)
		}
		s.Event, s.From, s.To = known(events, event), known(states, from), known(states, to)
		return step(&s)
	})
	return err
}

// known returns a name as one of those seen before.
func known[T ~string](seen map[string]T, name []byte) T {
	if value, ok := seen[string(name)]; ok { // does not allocate
		return value
	}
	value := T(name)
	seen[string(value)] = value
	return value
}

// recentKeys returns the keys of the entities that have moved last. It reads the end of the
// history, and more of it until there are enough.
func (r *Reader) recentKeys(ctx context.Context, machine string, entities int) (keys []string, err error) {
	var pages int64
	if err := r.pool.QueryRow(ctx, pagesSQL, oneMessage, r.schema.quoted+".transitions").Scan(&pages); err != nil {
		return nil, err
	}
	for size := int64(64 + entities/10); ; size *= 4 { // there are about 50 steps on a page
		first := max(pages-size, 0)
		rows, err := r.pool.Query(ctx, r.schema.sql(recentKeysSQL), oneMessage, machine, fmt.Sprintf("(%d,0)", first), entities)
		if err != nil {
			return nil, err
		}
		if keys, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(keys) >= entities || first == 0 {
			return keys, err
		}
	}
}

const (
	pagesSQL = `SELECT pg_catalog.pg_relation_size($1::text::regclass) / pg_catalog.current_setting('block_size')::bigint`

	// recentKeysSQL returns the last $3 entities of machine $1 in the part of the history that begins at $2.
	recentKeysSQL pawlSQL = `
SELECT entity FROM pawl.transitions WHERE machine = $1 AND ctid >= $2::text::tid
GROUP BY entity ORDER BY max(ctid) DESC LIMIT $3`
)
