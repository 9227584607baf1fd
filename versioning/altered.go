package versioning

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// ErrSplitAgain says that a table was altered since [Store.Split] dealt records out to
// several lists: what is in different lists may be tied together by now. The records
// without a verdict are to be dealt out again, once no other list is being applied.
var ErrSplitAgain = errors.New("a table was altered since the records were split; split them again")

// fingerprintOfTable, fingerprintOfTree and fingerprintOfTypes list versions of rows of
// the catalog, for relations $1 and types $2. Whatever matters here changes one of them:
// a CHECK is counted in pg_class, a foreign key has triggers, a default is noted with its
// column.
const (
	fingerprintOfTable = `
	SELECT 'class ' || oid || ' ' || xmin AS part FROM pg_catalog.pg_class WHERE oid = ANY ($1::oid[])
	UNION ALL SELECT 'attribute ' || attrelid || ' ' || attnum || ' ' || xmin FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0
	UNION ALL SELECT 'index ' || indexrelid || ' ' || xmin || indisvalid || indisready FROM pg_catalog.pg_index WHERE indrelid = ANY ($1)
	UNION ALL SELECT 'trigger ' || t.oid || ' ' || t.xmin || ' ' || p.xmin FROM pg_catalog.pg_trigger AS t
		JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid WHERE t.tgrelid = ANY ($1)`
	fingerprintOfTree = `
	UNION ALL SELECT 'child ' || inhrelid || ' ' || xmin FROM pg_catalog.pg_inherits WHERE inhparent = ANY ($1)`
	fingerprintOfTypes = `
	UNION ALL SELECT 'type ' || oid || ' ' || xmin FROM pg_catalog.pg_type WHERE oid = ANY ($2::oid[])
	UNION ALL SELECT 'label ' || oid || ' ' || xmin FROM pg_catalog.pg_enum WHERE enumtypid = ANY ($2)
	UNION ALL SELECT 'check ' || oid || ' ' || xmin FROM pg_catalog.pg_constraint WHERE contypid = ANY ($2)`
)

// relationsQuery lists table $1 with its partitions and the tables that inherit from it,
// and the types of their columns that somebody has made, down to those below domains.
const relationsQuery = `
WITH RECURSIVE tree AS (
	SELECT $1::oid AS oid
	UNION
	SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree ON i.inhparent = tree.oid
), used AS (
	SELECT a.atttypid AS oid FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	UNION
	SELECT t.typbasetype FROM pg_catalog.pg_type AS t JOIN used ON t.oid = used.oid WHERE t.typtype = 'd'
)
SELECT ARRAY(SELECT oid FROM tree), ARRAY(SELECT oid FROM used WHERE oid >= 16384), (SELECT relhassubclass FROM pg_catalog.pg_class WHERE oid = $1)`

// A picture is what the catalog said of a table at one time.
type picture struct {
	sql         string // a query for the fingerprint
	args        []any  // of that
	fingerprint string // stands for the versions of all rows of the catalog that are about the table
}

// takePicture is called before anything else is read about the table: what is altered
// meanwhile is found to differ.
func (t *table) takePicture(ctx context.Context, conn *pgxpool.Conn) error {
	var relations, types []uint32
	var hasChildren bool
	if err := conn.QueryRow(ctx, relationsQuery, alone, t.oid).Scan(&relations, &types, &hasChildren); err != nil {
		return err
	}
	parts, args := fingerprintOfTable, []any{relations}
	if hasChildren {
		parts += fingerprintOfTree
	}
	if len(types) > 0 {
		parts, args = parts+fingerprintOfTypes, append(args, types)
	}
	t.picture = picture{sql: `SELECT count(*) || ' ' || coalesce(sum(pg_catalog.hashtextextended(part, 0)), 0) FROM (` + parts + `) AS parts`, args: args}
	now, err := t.picture.now(ctx, conn)
	t.picture.fingerprint = now
	return err
}

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
func (w *writer) unaltered(plan *Plan, moves []*Move) {
	for _, t := range w.store.tables {
		name := t.Machine.Name()
		if len(plan.Dead) > 0 || slices.ContainsFunc(moves, func(m *Move) bool { return m.Entity.Machine == name }) {
			sql, args := t.picture.guard()
			w.guarded(1, sql, args)
		}
	}
}

// orAltered returns errAltered, with the error, if one of the tables was altered and the
// error may come of that. Refused data is no sign of it: what becomes of that is guarded.
func (s *edition) orAltered(ctx context.Context, err error) error {
	if cause := CauseOf(err); cause != Fatal && !errors.Is(err, errMoved) && (cause == Data || !isRefusal(err)) || errors.Is(err, errAltered) {
		return err
	}
	for _, t := range s.tables {
		if now, failed := t.picture.now(ctx, s.pool); failed == nil && now != t.picture.fingerprint {
			return fmt.Errorf("%w: %s: %w", errAltered, t.Name, err)
		}
	}
	return err
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
