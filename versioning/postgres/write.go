package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A writer queues the statements of one plan. Their number depends on the number of
// levels (see unit), not on the number of records.
type writer struct {
	store     *snapshot
	batch     *pgx.Batch
	immediate bool // constraints are already checked with each statement
}

// guarded queues a statement that must return exactly the given number of rows. If it
// does not, it fails, and the statements after it, including a COMMIT, do not run.
func (w *writer) guarded(rows int, sql string, args []any) {
	w.batch.Queue(w.store.schema.guardedSQL(sql, len(args)+1), append(args, rows)...)
}

// guardedSQL makes a statement fail unless it returns $n rows. ($n is its last
// parameter.)
func (s *schema) guardedSQL(sql string, n int) string {
	return fmt.Sprintf("WITH taken AS (%s)\nSELECT (count(*) = $%d)::%s.guarded FROM taken", sql, n, s.quoted)
}

// errMoved says that a guarded statement did not return the rows that it must.
var errMoved = errors.New("another writer moved a row")

// levels queues the writes of the rows. All transactions lock the rows in the same
// order, by table and key, so that two transactions that need the same rows wait for
// each other without a deadlock. (Only new rows with different shapes or levels can
// still cause one. PostgreSQL resolves it, and the batch is applied again.)
func (w *writer) levels(rows writing) {
	if rows.levels == 1 && !slices.ContainsFunc(rows.units, func(u unit) bool { return u.inOrder }) {
		level := make([]*unit, len(rows.units))
		for i := range rows.units {
			level[i] = &rows.units[i]
		}
		w.level(level)
		return
	}
	levels := make([][]*unit, rows.levels)
	for i := range rows.units {
		u := &rows.units[i]
		levels[u.level] = append(levels[u.level], u)
	}
	w.lock(rows)
	for _, units := range levels {
		w.level(units)
	}
}

// lock queues locks of the rows in their order, because the writes have a different
// order.
func (w *writer) lock(rows writing) {
	for _, t := range w.store.tables {
		var keys texts
		for i := range rows.units {
			if u := &rows.units[i]; u.table == t && u.prev == nil && !u.create() {
				keys = append(keys, u.move.Entity.Key)
			}
		}
		if len(keys) > 0 {
			w.batch.Queue(t.lockSQL(), keys)
		}
	}
}

// level queues the writes of units that can be written together. They are sorted by
// table and key.
func (w *writer) level(units []*unit) {
	for len(units) > 0 {
		t := units[0].table
		n := slices.IndexFunc(units, func(u *unit) bool { return u.table != t })
		if n < 0 {
			n = len(units)
		}
		w.rows(t, units[:n])
		units = units[n:]
	}
}

// errOwnTables marks an error about one of the framework's tables. It is not a record's
// fault: an application row may have been reset to an earlier version, or restored
// after a delete, while its history stayed.
var errOwnTables = errors.New("a framework table refuses a row; compare the versions of the entities' rows with their history")

// ownTables are the framework's tables.
var ownTables = []string{"transitions", "parked", "dead_letters", "marks", "caught_up", "tables"}

// written translates the error of a write.
func (s *snapshot) written(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	own := ok && pgErr.SchemaName == s.schema.String()
	switch {
	case err == nil:
		return nil
	case own && pgErr.DataTypeName == "guarded":
		return errMoved
	case own && slices.Contains(ownTables, pgErr.TableName): // the application's tables may be in the same schema
		return fmt.Errorf("%w: %w", errOwnTables, err)
	}
	if ok && pgErr.Code == notNull {
		return fmt.Errorf("write: %w: set column %s in Change.Set, or give it a DEFAULT", err, pgErr.ColumnName)
	}
	return fmt.Errorf("write: %w", err)
}
