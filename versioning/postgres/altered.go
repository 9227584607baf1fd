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

// This file is about tables that are altered while a store works on them. What a store
// does rests on what the catalog says of its tables: how values are encoded, which steps
// reach the table one by one, which records can't be written at all. So each
// transaction that writes rows, or makes dead letters, fails if the catalog says
// something else by now. It looks when it holds its locks on the tables: they can't be
// altered any more before it commits. Then the store reads the catalog again, and judges
// again.

// errAltered says that a table was altered. Nothing was written.
var errAltered = errors.New("a table was altered")

// The parts of a fingerprint are versions of rows of the catalog. Whatever matters here
// changes one of them, although not all of it is in a row of its own: a CHECK is counted
// in pg_class, and a default is noted with its column.
//
// The triggers of foreign keys are left out: those keys that matter are constraints of
// the table itself, and one of another table to this one may be made by a trigger, in
// the middle of a transaction.
const (
	// $1 is the table's name, $2 the table with its partitions.
	fingerprintOfTable = `
	SELECT 'name ' || pg_catalog.to_regclass($1)::oid AS part
	UNION ALL SELECT 'class ' || oid || ' ' || xmin || pg_catalog.row_security_active(oid) FROM pg_catalog.pg_class WHERE oid = ANY ($2::oid[])
	UNION ALL SELECT 'attribute ' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($2) AND attnum > 0
	UNION ALL SELECT 'index ' || indexrelid || ' ' || xmin || indisvalid || indisready FROM pg_catalog.pg_index WHERE indrelid = ANY ($2)
	UNION ALL SELECT 'constraint ' || oid || ' ' || xmin FROM pg_catalog.pg_constraint WHERE conrelid = ANY ($2)
	UNION ALL SELECT 'rule ' || oid || ' ' || xmin FROM pg_catalog.pg_rewrite WHERE ev_class = ANY ($2)
	UNION ALL SELECT 'trigger ' || t.oid || ' ' || t.xmin || ' ' || p.xmin FROM pg_catalog.pg_trigger AS t
		JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid WHERE t.tgrelid = ANY ($2) AND NOT t.tgisinternal`
	// These are only where there are such objects.
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

// objectsQuery lists table $1 with its partitions and the tables that inherit from it,
// those of them that have some, the functions that defaults, constraints and indexes
// call, and the types and collations of the columns that somebody has made, the types
// down to those below domains and to the elements of arrays.
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

// A picture is what the catalog said of a table at one time.
type picture struct {
	sql         string // a query for the fingerprint
	args        []any  // of that
	fingerprint string // stands for the versions of all rows of the catalog that are about the table
}

// takePicture is called before anything else is read about the table: what is altered
// meanwhile is found to differ.
func (t *table) takePicture(ctx context.Context, conn *pgxpool.Conn) error {
	return pgx.BeginTxFunc(ctx, conn, atOnce, func(tx pgx.Tx) (err error) {
		var tables, parents, functions, types, collations []uint32
		if err := tx.QueryRow(ctx, objectsQuery, alone, t.oid).Scan(&tables, &parents, &functions, &types, &collations); err != nil {
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
		t.picture = picture{sql: `SELECT count(*) || ' ' || coalesce(sum(pg_catalog.hashtextextended(part, 0)), 0) FROM (` + parts + `) AS parts`, args: args}
		t.picture.fingerprint, err = t.picture.now(ctx, tx)
		return err
	})
}

// atOnce are the options of a transaction whose queries see the database at one time.
var atOnce = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// now returns what the fingerprint is by now.
func (p *picture) now(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (fingerprint string, err error) {
	err = db.QueryRow(ctx, p.sql, append([]any{alone}, p.args...)...).Scan(&fingerprint)
	return fingerprint, err
}

// guard returns a query for a row if the fingerprint is still the same.
func (p *picture) guard() (sql string, args []any) {
	return fmt.Sprintf(`SELECT true FROM (%s) AS now(fingerprint) WHERE fingerprint = $%d`, p.sql, len(p.args)+1), append(slices.Clone(p.args), p.fingerprint)
}

// unaltered guards what rests on the catalog: rows that are written, and records that
// can't be.
func (w *writer) unaltered(plan *plan, moves []*versioning.Move) {
	for _, t := range w.store.tables {
		name := t.Machine.Name()
		if len(plan.Dead) > 0 || slices.ContainsFunc(moves, func(m *versioning.Move) bool { return m.Entity.Machine == name }) {
			sql, args := t.picture.guard()
			w.guarded(1, sql, args)
		}
	}
}

// orAltered returns errAltered, with the error, if one of the tables was altered and the
// error may come of that.
func (s *edition) orAltered(ctx context.Context, err error) error {
	if !mayComeOfAltering(err) {
		return err
	}
	for _, t := range s.tables {
		if now, failed := t.picture.now(ctx, s.pool); failed == nil && now != t.picture.fingerprint {
			return fmt.Errorf("%w: %s: %w", errAltered, t.Name, err)
		}
	}
	return err
}

// mayComeOfAltering reports whether an error is a sign that a table may have been
// altered. Data that PostgreSQL refuses is none where it is written: what becomes of that
// is guarded.
func mayComeOfAltering(err error) bool {
	if errors.Is(err, errAltered) {
		return false // it is known
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

// renew has the store work by what the catalog says now, if it still works by an
// earlier edition.
func (s *Store) renew(ctx context.Context, old *edition) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.edition.Load() != old {
		return nil
	}
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		e, err := s.inspect(ctx, conn)
		if err != nil {
			return fmt.Errorf("%w, and can't be worked with until it is mended: %w", errAltered, err)
		}
		for _, t := range e.tables {
			if before := old.byMachine[t.Machine.Name()]; before != nil {
				t.refusals.goOn(&before.refusals)
			}
		}
		s.edition.Store(e)
		return nil
	})
}

// again runs work by one edition after the other, for as long as tables are altered
// meanwhile.
func (s *Store) again(ctx context.Context, work func(*edition) error) error {
	for attempt := 1; ; attempt++ {
		e := s.edition.Load()
		err := e.orAltered(ctx, work(e))
		if !errors.Is(err, errAltered) || attempt == maxAttempts {
			return err
		}
		if err := s.renew(ctx, e); err != nil {
			return err
		}
	}
}
