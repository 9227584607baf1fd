package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/versioning"
)

// writes returns the statements that write everything in a plan, for one round trip.
// They fail with errMoved if a guarded statement returns fewer rows than it must, or if
// the fate of a record was decided since the plan was made. rows is the result of
// arrange, and locks are those that the transaction does not hold yet.
func (s *snapshot) writes(plan *versioning.Plan, moves []*versioning.Move, rows writing, attempt int, locks fateLocks) *pgx.Batch {
	w := &writer{store: s, batch: &pgx.Batch{}}
	locks.queue(w.batch, s.schema)
	w.undecided(plan, attempt)
	if rows.serial { // only in a dry run
		w.batch.Queue(checkNowSQL)
		for _, try := range s.tries(moves) {
			w.one(try)
		}
	} else {
		w.levels(rows)
	}
	w.rest(plan, moves, attempt)
	return w.batch
}

// rest queues everything except the rows.
func (w *writer) rest(plan *versioning.Plan, moves []*versioning.Move, attempt int) {
	w.history(moves)
	w.park(plan.Park)
	w.notDecided(plan, attempt)
	w.repark(plan.Repark)
	w.remove(deleteParkedSQL, plan.Release, w.store.scope)
	w.deadLetter(plan.Dead)
	w.remove(deleteDeadSQL, plan.Revive, w.store.deadScope)
	w.unaltered(plan, moves)
	if len(plan.Moves) == 0 {
		w.batch.Queue(waitForStandbySQL)
	}
}

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

// errMoved says that a guarded write found fewer rows than it needs.
var errMoved = errors.New("another writer moved a row")

// waitForStandbySQL makes the COMMIT of a transaction that may have written nothing
// wait for a synchronous standby, if there is one. A verdict such as Duplicate relies
// on rows that others have written. If the wait of their COMMIT was canceled, these
// rows are visible before the standby has them. PostgreSQL waits only for transactions
// that have written to the WAL; this message is the smallest write that counts.
const waitForStandbySQL = `
SELECT pg_logical_emit_message(true, 'pawl', '') WHERE current_setting('synchronous_standby_names') <> ''`

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

// inOrder returns the moves sorted by key. The history's primary key has the same
// order, so its pages are visited one after another.
func inOrder(moves []versioning.Move) []*versioning.Move {
	sorted := make([]*versioning.Move, len(moves))
	for i := range moves {
		sorted[i] = &moves[i]
	}
	slices.SortFunc(sorted, func(a, b *versioning.Move) int { return strings.Compare(a.Entity.Key, b.Entity.Key) })
	return sorted
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
