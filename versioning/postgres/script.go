package postgres

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

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
}

// compose returns the script of a plan.
func (s *snapshot) compose(plan *versioning.Plan) *script {
	c := s.withoutRows(plan)
	c.rows = s.arrange(c.moves)
	return c
}

// withoutRows returns the script of a plan whose rows are written separately. The moves
// are in the order of the history's primary key, so its pages are visited one after
// another.
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
	w := &writer{store: c.store, batch: &pgx.Batch{}}
	c.locks.queue(w.batch, c.store.schema)
	w.stepsNotDead(c.moves)
	if !c.again {
		w.notApplied(c.dead())
	}
	if c.rows.serial { // only in a dry run
		w.oneByOne(c.moves)
	} else {
		w.levels(c.rows)
	}
	w.history(c.moves)
	w.park(c.plan.Park)
	w.notDead(c.plan.Park)
	if !c.again {
		w.notApplied(c.parked())
	}
	w.repark(c.plan.Repark)
	w.remove(deleteParkedSQL, c.plan.Release, w.store.scope)
	w.deadLetter(c.plan.Dead)
	w.remove(deleteDeadSQL, c.plan.Revive, w.store.deadScope)
	w.unaltered(c)
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

// dead returns the records that become or remain dead letters.
func (c *script) dead() []*versioning.Record {
	records := make([]*versioning.Record, len(c.plan.Dead))
	for i := range c.plan.Dead {
		records[i] = c.plan.Dead[i].Record
	}
	return records
}

// parked returns the records to park.
func (c *script) parked() []*versioning.Record {
	records := make([]*versioning.Record, len(c.plan.Park))
	for i := range c.plan.Park {
		records[i] = c.plan.Park[i].Record
	}
	return records
}
