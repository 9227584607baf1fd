package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// This file handles tables that are altered while a store uses them. The store relies
// on what the catalog says about its tables: how values are encoded, which tables need
// stepwise writes, which records can't be written at all. So each transaction that
// writes rows or dead letters fails if the catalog has changed. It checks that after it
// has locked the tables, so they can't be altered before it commits. Then the store
// reads the catalog again and judges the records again.

// errAltered says that a table was altered. Nothing was written.
var errAltered = errors.New("a table was altered")

// The parts of a fingerprint are versions (xmin) of catalog rows. Everything that
// matters here changes one of them, even if it has no row of its own in these queries:
// adding a CHECK changes a count in pg_class, and adding a default changes the row of
// its column.
//
// Triggers of foreign keys are left out. The foreign keys that matter are constraints
// of the table itself. A foreign key from another table to this one may be created by a
// trigger, in the middle of a transaction.
const (
	// $1 is the table's name, $2 the table and its partitions.
	fingerprintOfTable = `
	SELECT 'name ' || pg_catalog.to_regclass($1)::oid AS part
	UNION ALL SELECT 'class ' || oid || ' ' || xmin || pg_catalog.row_security_active(oid) FROM pg_catalog.pg_class WHERE oid = ANY ($2::oid[])
	UNION ALL SELECT 'attribute ' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($2) AND attnum > 0
	UNION ALL SELECT 'index ' || indexrelid || ' ' || xmin || indisvalid || indisready FROM pg_catalog.pg_index WHERE indrelid = ANY ($2)
	UNION ALL SELECT 'constraint ' || oid || ' ' || xmin FROM pg_catalog.pg_constraint WHERE conrelid = ANY ($2)
	UNION ALL SELECT 'rule ' || oid || ' ' || xmin FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ($2)
	UNION ALL SELECT 'trigger ' || t.oid || ' ' || t.xmin || ' ' || p.xmin FROM pg_catalog.pg_trigger AS t
		JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid WHERE t.tgrelid = ANY ($2) AND NOT t.tgisinternal`
	// These are added only if there are such objects.
	fingerprintOfParents = `
	UNION ALL SELECT 'child ' || inhrelid || ' ' || xmin FROM pg_catalog.pg_inherits WHERE inhparent = ANY ($%d::oid[])`
	fingerprintOfFunctions = `
	UNION ALL SELECT 'function ' || oid || ' ' || xmin FROM pg_catalog.pg_proc WHERE oid = ANY ($%d::oid[])`
	fingerprintOfTypes = `
	UNION ALL SELECT 'type ' || t.oid || ' ' || t.xmin || ' ' || n.xmin FROM pg_catalog.pg_type AS t
		JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace WHERE t.oid = ANY ($%[1]d::oid[])
	UNION ALL SELECT 'label ' || oid || ' ' || xmin FROM pg_catalog.pg_enum WHERE enumtypid = ANY ($%[1]d)
	UNION ALL SELECT 'check ' || oid || ' ' || xmin FROM pg_catalog.pg_constraint WHERE contypid = ANY ($%[1]d)`
	fingerprintOfCollations = `
	UNION ALL SELECT 'collation ' || c.oid || ' ' || c.xmin || ' ' || n.xmin FROM pg_catalog.pg_collation AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace WHERE c.oid = ANY ($%d::oid[])`
)

// objectsQuery lists table $1 with its partitions and inheriting tables; those of them
// that have children; the functions that defaults, constraints and indexes call; and
// the user-defined types and collations of the columns. It includes the base types of
// domains and the element types of arrays.
const objectsQuery = `
WITH RECURSIVE tree AS (
	SELECT $1::oid AS oid
	UNION
	SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
), callers AS (
	SELECT 'pg_catalog.pg_attrdef'::regclass AS class, d.oid FROM pg_catalog.pg_attrdef AS d JOIN tree ON d.adrelid = tree.oid
	UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, c.oid FROM pg_catalog.pg_constraint AS c JOIN tree ON c.conrelid = tree.oid
	UNION ALL SELECT 'pg_catalog.pg_class'::regclass, i.indexrelid FROM pg_catalog.pg_index AS i JOIN tree ON i.indrelid = tree.oid
), columns AS (
	SELECT atttypid, attcollation FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
), used AS (
	SELECT atttypid AS oid FROM columns
	UNION
	SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
	FROM pg_catalog.pg_type AS t JOIN used ON t.oid = used.oid WHERE t.typtype = 'd' OR t.typcategory = 'A'
)
SELECT ARRAY(SELECT oid FROM tree),
       ARRAY(SELECT c.oid FROM pg_catalog.pg_class AS c JOIN tree ON c.oid = tree.oid WHERE c.relhassubclass),
       ARRAY(SELECT DISTINCT d.refobjid FROM callers AS c JOIN pg_catalog.pg_depend AS d
             ON d.classid = c.class AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_proc'::regclass),
       ARRAY(SELECT oid FROM used WHERE oid >= 16384),
       ARRAY(SELECT DISTINCT attcollation FROM columns WHERE attcollation >= 16384)`

// A fingerprint identifies what the catalog said about a table at one time.
type fingerprint struct {
	sql   string // the query that computes it
	args  []any  // the arguments of the query
	value string // a hash of the versions of all catalog rows about the table
}

// takeFingerprint is called before anything else is read about the table, so that any
// later change is noticed.
func (t *table) takeFingerprint(ctx context.Context, conn *pgxpool.Conn) error {
	return pgx.BeginTxFunc(ctx, conn, repeatableRead, func(tx pgx.Tx) (err error) {
		var tables, parents, functions, types, collations []uint32
		if err := tx.QueryRow(ctx, objectsQuery, oneMessage, t.oid).Scan(&tables, &parents, &functions, &types, &collations); err != nil {
			return err
		}
		parts, args := fingerprintOfTable, []any{t.ident, tables}
		add := func(part string, of []uint32) {
			if len(of) > 0 {
				args = append(args, of)
				parts += fmt.Sprintf(part, len(args))
			}
		}
		add(fingerprintOfParents, parents)
		add(fingerprintOfFunctions, functions)
		add(fingerprintOfTypes, types)
		add(fingerprintOfCollations, collations)
		t.fingerprint = fingerprint{sql: `SELECT count(*) || ' ' || coalesce(sum(pg_catalog.hashtextextended(part, 0)), 0) FROM (` + parts + `) AS parts`, args: args}
		t.fingerprint.value, err = t.fingerprint.now(ctx, tx)
		return err
	})
}

// repeatableRead are the options of a transaction whose queries all see the same data.
var repeatableRead = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// now returns the current fingerprint.
func (f *fingerprint) now(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (value string, err error) {
	err = db.QueryRow(ctx, f.sql, append([]any{oneMessage}, f.args...)...).Scan(&value)
	return value, err
}

// guard returns a query that returns a row if the fingerprint has not changed.
func (f *fingerprint) guard() (sql string, args []any) {
	return fmt.Sprintf(`SELECT true FROM (%s) AS now(fingerprint) WHERE fingerprint = $%d`, f.sql, len(f.args)+1), append(slices.Clone(f.args), f.value)
}

// unaltered checks that no table was altered on which the script relies: it writes rows
// of the table, or refuses records that the table may accept now.
func (w *writer) unaltered(c *script) {
	for _, t := range w.store.tables {
		name := t.Machine.Name()
		if len(c.plan.Dead) > 0 || c.tells || slices.ContainsFunc(c.moves, func(m *versioning.Move) bool { return m.Entity.Machine == name }) {
			sql, args := t.fingerprint.guard()
			w.guarded(1, sql, args)
		}
	}
}

// orAltered returns errAltered, wrapping err, if one of the tables was altered and err
// may be a result of that.
func (s *snapshot) orAltered(ctx context.Context, err error) error {
	if !mayBeAltered(err) {
		return err
	}
	for _, t := range s.tables {
		if now, failed := t.fingerprint.now(ctx, s.pool); failed == nil && now != t.fingerprint.value {
			return fmt.Errorf("%w: %s: %w", errAltered, t.Name, err)
		}
	}
	return err
}

// mayBeAltered reports whether an error may mean that a table was altered. An error
// about data that PostgreSQL refuses on a write does not: the transaction that acts on
// it is guarded.
func mayBeAltered(err error) bool {
	if errors.Is(err, errAltered) {
		return false // already known
	}
	switch causeOf(err) {
	case versioning.NoCause:
		return false
	case versioning.Fatal:
		return true
	case versioning.Data:
		return errors.Is(err, errRead)
	case versioning.Infrastructure:
	}
	return isRefusal(err) || errors.Is(err, errMoved) || errors.Is(err, ErrAllRefused)
}

// refresh reads a new snapshot from the catalog, if the store still uses old.
func (s *Store) refresh(ctx context.Context, old *snapshot) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.snapshot.Load() != old {
		return nil
	}
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		e, err := s.inspect(ctx, conn)
		if err != nil {
			return fmt.Errorf("%w and can't be used until it is fixed: %w", errAltered, err)
		}
		for _, t := range e.tables {
			if before := old.byMachine[t.Machine.Name()]; before != nil {
				t.refusals.continueFrom(&before.refusals)
			}
		}
		s.snapshot.Store(e)
		return nil
	})
}

// retryAltered runs work with the current snapshot, and again with a new one each time
// a table was altered meanwhile.
func (s *Store) retryAltered(ctx context.Context, work func(*snapshot) error) error {
	for attempt := 1; ; attempt++ {
		e := s.snapshot.Load()
		err := e.orAltered(ctx, work(e))
		if !errors.Is(err, errAltered) || attempt == maxAttempts {
			return err
		}
		if err := s.refresh(ctx, e); err != nil {
			return err
		}
	}
}
