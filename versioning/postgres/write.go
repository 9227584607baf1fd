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

// writes returns the statements that write all that a plan decided, for one round
// trip. They fail with errMoved if a guarded one takes fewer rows than it has to, or
// if the fate of a record was decided since the plan was made. The rows are those of
// what arrange returned, and the locks those that the transaction does not hold yet.
func (s *edition) writes(plan *plan, moves []*versioning.Move, rows writing, attempt int, locks fateLocks) *pgx.Batch {
	w := &writer{store: s, batch: &pgx.Batch{}, letters: plan.letters}
	locks.queue(w.batch, s.schema)
	w.undecided(plan, attempt)
	if rows.serial { // only of a dry run
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

// rest queues all but the rows.
func (w *writer) rest(plan *plan, moves []*versioning.Move, attempt int) {
	w.history(moves)
	w.park(plan.Park)
	w.notDecided(plan, attempt)
	w.repark(plan.Repark)
	w.remove(deleteParkedSQL, plan.Release, w.store.scope)
	w.bury(plan.Dead)
	w.remove(deleteDeadSQL, plan.Revive, w.letterAt)
	w.unaltered(plan, moves)
	if len(plan.Moves) == 0 {
		w.batch.Queue(waitForStandbySQL)
	}
}

// A writer queues the statements of one plan. Their number does not depend on the
// number of records, but on that of the levels: see unit.
type writer struct {
	store     *edition
	batch     *pgx.Batch
	letters   map[versioning.Origin]string // the scopes of the dead letters that the plan judges again
	immediate bool                         // constraints are checked with each statement already
}

// guarded queues a statement that has to take exactly the given number of rows. If
// it does not, it fails, and those behind it are not run: neither is a COMMIT.
func (w *writer) guarded(rows int, sql string, args []any) {
	w.batch.Queue(w.store.schema.guardedSQL(sql, len(args)+1), append(args, rows)...)
}

// guardedSQL has a statement that returns its rows fail if they are not $n. ($n is
// its last parameter.)
func (s *schema) guardedSQL(sql string, n int) string {
	return fmt.Sprintf("WITH taken AS (%s)\nSELECT (count(*) = $%d)::%s.guarded FROM taken", sql, n, s.quoted)
}

// errMoved says that a guarded write found fewer rows than it had to.
var errMoved = errors.New("a row was moved by someone else")

// waitForStandbySQL makes the COMMIT of a transaction that may have written nothing
// wait for a synchronous standby, if there is one: a verdict such as Duplicate rests
// on rows that others have written, which are visible before the standby has them
// where their own COMMIT was given up. PostgreSQL waits only for a transaction that
// has written to its log; this message is the least that counts.
const waitForStandbySQL = `
SELECT pg_logical_emit_message(true, 'pawl', '') WHERE current_setting('synchronous_standby_names') <> ''`

// levels queues the writes of the rows. All transactions take the rows in one order,
// that of their tables and keys, so that two that want the same ones wait for each
// other, and not in a circle (which only new rows of different shapes or levels can still
// make: PostgreSQL breaks it, and the batch is applied again).
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

// lock queues locks of the rows, in their order, which is not that of the writes.
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

// level queues the writes of units that can be made together: they are in the order of
// their tables and keys.
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

// inOrder returns the moves in the order of their keys. That of the history's
// primary key is the same: its pages are visited one after the other.
func inOrder(moves []versioning.Move) []*versioning.Move {
	sorted := make([]*versioning.Move, len(moves))
	for i := range moves {
		sorted[i] = &moves[i]
	}
	slices.SortFunc(sorted, func(a, b *versioning.Move) int { return strings.Compare(a.Entity.Key, b.Entity.Key) })
	return sorted
}

// errOwnTables marks an error about one of the framework's own tables, which is no
// record's fault: a row of the application's may have been set back to an earlier
// version, or brought back after it was deleted, while its history stayed.
var errOwnTables = errors.New("the framework's own table does not take what it is to hold; compare the rows' versions with their history")

// ownTables are the framework's tables.
var ownTables = []string{"transitions", "parked", "dead_letters", "marks", "caught_up", "tables"}

// written translates the error of a write.
func (s *edition) written(err error) error {
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
