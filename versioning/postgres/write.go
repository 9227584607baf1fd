package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawl-go/pawl/versioning"
)

// A script is everything that a transaction writes for a plan.
type script struct {
	store *snapshot
	plan  *versioning.Plan
	moves []*versioning.Move // the plan's, sorted by key
	rows  writing            // how to write them; nothing, if the rows are already written
	locks fateLocks          // those that the transaction does not hold yet
	again bool               // the plan was made again because an earlier attempt failed
	tells bool               // it refuses changes of callers, who are told so

	server versioning.Server // on which the transaction is
	blind  *blind            // what was recalled instead of being read; nil if everything was read
	memos  []*memo           // what to remember of moves
	writer string            // the number of the transaction, set if there are memos

	now     time.Time          // when the transaction began; zero in a dry run
	firing  *firing            // of due timers; nil if the records are not timers
	outputs []*pgx.QueuedQuery // statements of the writers of outputs
	packs   []*outPack         // that these statements write
}

// compose returns the script of a plan.
func (s *snapshot) compose(plan *versioning.Plan) *script {
	c := s.withoutRows(plan)
	c.rows = s.arrange(c.moves)
	return c
}

// withoutRows returns the script of a plan whose rows are written separately. Its moves
// are sorted like the history's primary key, so pages are visited one after another.
func (s *snapshot) withoutRows(plan *versioning.Plan) *script {
	c := &script{store: s, plan: plan, moves: make([]*versioning.Move, len(plan.Moves))}
	for i := range plan.Moves {
		c.moves[i] = &plan.Moves[i]
	}
	slices.SortFunc(c.moves, func(a, b *versioning.Move) int { return strings.Compare(a.Entity.Key, b.Entity.Key) })
	return c
}

// statements returns the statements of a script, for one round trip. They fail with
// errMoved if a guarded statement returns another number of rows than it must.
//
// Some guards are about the fate of the records. Two workers may process the same record
// at once if one of them has lost its partition and does not know it. What one of them
// decides while the other is between reading and writing must remain the record's only
// verdict, whether rows have moved or not. The guards of parked records come after the
// statement that parks them, because that statement has waited for any transaction that
// was removing the same record from pawl.parked.
//
// Only the first attempt checks whether a record has made a step. A later attempt has
// seen the step; if it still parks or rejects the record, that is because the machine
// or the decoder has changed.
func (c *script) statements() *pgx.Batch {
	w := &writer{store: c.store, batch: &pgx.Batch{}, blind: c.blind}
	c.locks.queue(w.batch, c.store.schema)
	if c.blind == nil {
		w.stepsNotDead(c)
	} else {
		w.sameServer(c.server)
		w.nonePast(c.blind, c.moves)
	}
	if !c.again {
		w.notApplied(len(c.plan.Dead), func(i int) *versioning.Record { return c.plan.Dead[i].Record })
	}
	if c.rows.serial { // only in a dry run
		w.batch.Queue(checkNowSQL)
		for _, try := range c.store.tries(c.moves) {
			w.one(try)
		}
	} else {
		w.levels(c.rows)
	}
	w.history(c.moves)
	if c.blind != nil {
		w.noneParked(c.moves)
		w.stepsNotDead(c) // after noneParked: a parked record may expire in between
	}
	w.arm(c)
	w.batch.QueuedQueries = append(w.batch.QueuedQueries, c.outputs...)
	w.park(c.plan.Park)
	w.notDead(c.plan.Park)
	if !c.again {
		w.notApplied(len(c.plan.Park), func(i int) *versioning.Record { return c.plan.Park[i].Record })
	}
	w.repark(c.plan.Repark)
	w.remove(deleteParkedSQL, c.plan.Release, w.store.scope)
	w.deadLetter(c.plan.Dead)
	w.remove(deleteDeadSQL, c.plan.Revive, w.store.deadScope)
	w.audit(c.plan)
	w.unaltered(c)
	c.noteWriter(w.batch)
	if len(c.moves) == 0 {
		w.batch.Queue(waitForStandbySQL)
	}
	return w.batch
}

// waitForStandbySQL makes the COMMIT of a transaction that may have written nothing
// wait for a synchronous standby, if there is one. A verdict such as Duplicate relies
// on rows that others have written. If the wait of their COMMIT was canceled, these
// rows are visible before the standby has them. PostgreSQL waits only for transactions
// that have written to the WAL; this message is the smallest write that counts.
const waitForStandbySQL = `
SELECT pg_logical_emit_message(true, 'pawl', '') WHERE current_setting('synchronous_standby_names') <> ''`

// A writer queues the statements of one plan. Their number depends on the number of
// levels (see unit), not on the number of records.
type writer struct {
	store     *snapshot
	batch     *pgx.Batch
	immediate bool   // constraints are already checked with each statement
	blind     *blind // the script's
}

// guarded queues a statement that must return exactly the given number of rows. If it
// does not, it fails, and the statements after it, including a COMMIT, do not run.
func (w *writer) guarded(rows int, sql string, args []any) {
	guarded := fmt.Sprintf("WITH taken AS (%s)\nSELECT (count(*) = $%d)::%s.guarded FROM taken", sql, len(args)+1, w.store.schema.quoted)
	w.batch.Queue(guarded, append(args, rows)...)
}

// errMoved says that a guarded statement did not return the rows that it must.
var errMoved = errors.New("another writer moved a row")

// levels queues the writes of the rows. All transactions lock the rows in the same
// order, by table and key, so that two transactions that need the same rows wait for
// each other without a deadlock. (Only new rows with different shapes or levels can
// still cause one. PostgreSQL resolves it, and the batch is applied again.)
func (w *writer) levels(rows writing) {
	levels := make([][]*unit, max(rows.levels, 1))
	levels[0] = make([]*unit, 0, len(rows.units))
	inOrder := false
	for i := range rows.units {
		u := &rows.units[i]
		levels[u.level] = append(levels[u.level], u)
		inOrder = inOrder || u.inOrder
	}
	if len(levels) > 1 || inOrder {
		w.lock(rows)
	}
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
var ownTables = []string{
	"transitions", "parked", "dead_letters", "marks", "caught_up", "tables", "machines", "timers", "rearmed", "outbox", "outbox_events", "audit",
}

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
		todo := "set column " + pgErr.ColumnName + " in Change.Set, or give it a DEFAULT"
		if s.isComputed(pgErr.ColumnName) {
			todo = "if the transition has an action, it has left the field of column " + pgErr.ColumnName +
				" nil; set it; if it has none, give the column a DEFAULT"
		}
		return fmt.Errorf("write: %w: %s", err, todo)
	}
	return fmt.Errorf("write: %w", err)
}

// isComputed reports whether functions of one of the tables compute a column of a name.
func (s *snapshot) isComputed(column string) bool {
	return slices.ContainsFunc(s.tables, func(t *table) bool {
		return t.rows != nil && slices.ContainsFunc(t.rows.fields, func(f rowField) bool { return f.Column == column })
	})
}
