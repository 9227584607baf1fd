package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
)

// packSpan and packSize limit the timers of one row of pawl.timers: how much later than the
// first one the last one may have to be looked at, and how many they are. A row is looked at
// when its first timer is due, and what is left of it is written again. So a row must not
// become a chain of timers that are due one after the other.
const (
	packSpan = time.Second
	packSize = 1000
)

// A timer is a timer to write to pawl.timers.
type timer struct {
	entity  string
	version int64
	due     time.Time
	at      time.Time // when to look at it: when it is due, or later
}

// A timerKind is what the timers of one row have in common, besides nearly the same time.
type timerKind struct {
	machine string
	event   statemachine.Event
	tries   int32
}

// timers are timers to write, by kind.
type timers struct {
	kinds  []timerKind
	ofKind map[timerKind][]timer
}

func (t *timers) add(kind timerKind, one timer) {
	some, known := t.ofKind[kind]
	if !known {
		if t.ofKind == nil {
			t.ofKind = make(map[timerKind][]timer)
		}
		t.kinds = append(t.kinds, kind)
	}
	t.ofKind[kind] = append(some, one)
}

// storableDue returns when a timer fires: never earlier than asked for, in microseconds.
func storableDue(due time.Time) time.Time {
	return storableTime(due.Add(time.Microsecond - time.Nanosecond)).Truncate(time.Microsecond)
}

// later returns the later time.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// arms reports whether an entity of the table may arm timers.
func (t *table) arms() bool { return t.Machine.HasDeadlines() || t.Machine.RowType() != nil }

// arm queues the timers that the script's moves arm, and removes those that it has fired. A
// dry run writes only which timers are replaced: the verdicts on later dead letters depend on
// that.
func (w *writer) arm(c *script) {
	var armed timers
	var replaced rearmed
	if c.firing != nil {
		w.unarm(c.firing)
		c.firing.putBack(&armed, len(c.plan.Outcomes))
	}
	w.forgetRearmed(c)
	if !slices.ContainsFunc(w.store.tables, (*table).arms) {
		return
	}
	for _, m := range c.moves {
		for _, t := range m.Timers(w.store.byMachine[m.Entity.Machine].Machine, c.now) {
			if t.Replaces {
				replaced.add(m.Entity, t.Event, t.Version)
			}
			due := storableDue(t.Due)
			armed.add(timerKind{m.Entity.Machine, t.Event, 0}, timer{m.Entity.Key, t.Version, due, later(due, c.now)})
		}
	}
	w.rearm(&replaced)
	if !c.now.IsZero() {
		w.timers(&armed)
	}
}

// A timerPack is the timers of one row.
type timerPack struct {
	kind   timerKind
	at     time.Time // of the first timer
	timers []timer
}

// packs returns the rows to write.
func (t *timers) packs() (packs []timerPack) {
	for _, kind := range t.kinds {
		some := t.ofKind[kind]
		slices.SortStableFunc(some, func(a, b timer) int { return a.at.Compare(b.at) })
		for len(some) > 0 {
			n := 1
			for n < min(len(some), packSize) && some[n].at.Sub(some[0].at) <= packSpan {
				n++
			}
			packs = append(packs, timerPack{kind, some[0].at, some[:n]})
			some = some[n:]
		}
	}
	return packs
}

// ownStatement is the number of timers from which a row gets a statement of its own. That costs
// PostgreSQL far less for each timer than to gather many rows from one statement.
const ownStatement = 32

// timers queues the statements that write timers.
func (w *writer) timers(armed *timers) {
	var small []timerPack
	for _, p := range armed.packs() {
		if len(p.timers) < ownStatement {
			small = append(small, p)
			continue
		}
		entities, versions, dues := make(texts, len(p.timers)), make(bigints, len(p.timers)), make(times, len(p.timers))
		for i, t := range p.timers {
			entities[i], versions[i], dues[i] = t.entity, t.version, t.due
		}
		if !slices.ContainsFunc(dues, func(due time.Time) bool { return !due.Equal(p.at) }) {
			dues = nil
		}
		w.batch.Queue(w.store.schema.sql(insertTimerPackSQL), p.at, int32(len(p.timers)), p.kind.machine, string(p.kind.event), p.kind.tries, entities, versions, dues)
	}
	w.smallPacks(small)
}

// insertTimerPackSQL writes one row.
const insertTimerPackSQL pawlSQL = `
INSERT INTO pawl.timers (due, n, machine, event, tries, entities, versions, dues)
VALUES ($1::timestamptz, $2::integer, $3::text, $4::text, $5::integer, $6::text[], $7::bigint[], nullif($8::timestamptz[], '{}'))`

// smallPacks queues the statement that writes rows of few timers.
func (w *writer) smallPacks(all []timerPack) {
	var machines, events, entities texts
	var tries, packs integers
	var versions bigints
	var ats, dues times
	for _, p := range all {
		ats, machines, events, tries = append(ats, p.at), append(machines, p.kind.machine), append(events, string(p.kind.event)), append(tries, p.kind.tries)
		for _, t := range p.timers {
			packs, entities, versions, dues = append(packs, int32(len(ats))), append(entities, t.entity), append(versions, t.version), append(dues, t.due)
		}
	}
	if len(all) > 0 {
		w.batch.Queue(w.store.schema.sql(insertTimersSQL), packs, entities, versions, dues, ats, machines, events, tries)
	}
}

// insertTimersSQL packs the timers $2 to $4 into rows numbered by $1, counted from 1. For each
// row there is when to look at it, its machine, its event and its number of tries. The
// aggregates of a group see its timers in the same order.
const insertTimersSQL pawlSQL = `
INSERT INTO pawl.timers (due, n, machine, event, tries, entities, versions, dues)
SELECT p.at, p.n, ($6::text[])[p.pack], ($7::text[])[p.pack], ($8::integer[])[p.pack], p.entities, p.versions, p.dues
FROM (
	SELECT u.pack, ($5::timestamptz[])[u.pack] AS at, count(*) AS n,
	       array_agg(u.entity) AS entities, array_agg(u.version) AS versions,
	       CASE WHEN bool_or(u.due <> ($5)[u.pack]) THEN array_agg(u.due) END AS dues
	FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::timestamptz[]) AS u(pack, entity, version, due)
	GROUP BY u.pack
) AS p`

// A timerRow is a row of pawl.timers that a transaction has locked.
type timerRow struct {
	due time.Time
	id  int64

	kind     timerKind
	entities []string
	versions []int64
	dues     []time.Time // nil: all are due when the row is
}

// timer returns one timer of the row.
func (r *timerRow) timer(i int) timer {
	t := timer{r.entities[i], r.versions[i], r.due, r.due}
	if r.dues != nil {
		t.due, t.at = r.dues[i], r.dues[i]
	}
	return t
}

const timerColumns pawlSQL = `
SELECT t.due, t.id, t.machine, t.event, t.tries, t.entities, t.versions, t.dues`

func (r *timerRow) scan(row pgx.CollectableRow) error {
	return row.Scan(&r.due, &r.id, &r.kind.machine, &r.kind.event, &r.kind.tries, &r.entities, &r.versions, &r.dues)
}

// maxTimerRows limits the rows that one transaction locks.
const maxTimerRows = 1000

// claimTimersSQL locks the first rows of each machine $1 that are due, from the times $2 on,
// and skips those that others have locked. It stops at the row that brings their timers to
// $3. Because that must be known before rows are locked, it counts what is visible, locked or
// not: $4 is maxTimerRows.
const claimTimersSQL pawlSQL = timerColumns + `
FROM unnest($1::text[], $2::timestamptz[]) AS m(machine, since)
CROSS JOIN LATERAL (
	SELECT * FROM pawl.timers
	WHERE machine = m.machine AND due >= m.since AND due <= now()
	ORDER BY due, id
	LIMIT (
		SELECT count(*) FROM (
			SELECT sum(f.n) OVER (ORDER BY f.due, f.id) - f.n AS before FROM (
				SELECT n, due, id FROM pawl.timers
				WHERE machine = m.machine AND due >= m.since AND due <= now()
				ORDER BY due, id LIMIT $4
			) AS f
		) AS w WHERE w.before < $3
	)
	FOR UPDATE SKIP LOCKED
) AS t`

// claimTimerSQL locks one row, unless somebody else has locked it.
const claimTimerSQL pawlSQL = timerColumns + `
FROM pawl.timers AS t WHERE t.machine = $1 AND t.due = $2 AND t.id = $3 FOR UPDATE SKIP LOCKED`

// lockTimeoutSQL limits how long a transaction that fires timers waits for a locked row, unless
// the role has a limit: the timer of one entity must not hold up the others for longer.
const lockTimeoutSQL = `
SELECT set_config('lock_timeout', coalesce(nullif(current_setting('lock_timeout'), '0'), '2s'), true)`

// unarm queues the removal of the rows that a claim has taken timers from. What is left of
// them is written again as new rows.
func (w *writer) unarm(c *firing) {
	var machines texts
	var dues times
	var ids bigints
	for i := range c.rows {
		if c.rows[i].taken > 0 {
			machines, dues, ids = append(machines, c.rows[i].kind.machine), append(dues, c.rows[i].due), append(ids, c.rows[i].id)
		}
	}
	w.guarded(len(ids), w.store.schema.sql(deleteTimersSQL), []any{machines, dues, ids})
}

const deleteTimersSQL pawlSQL = `
DELETE FROM pawl.timers AS t
USING unnest($1::text[], $2::timestamptz[], $3::bigint[]) AS u(machine, due, id)
WHERE t.machine = u.machine AND t.due = u.due AND t.id = u.id
RETURNING true`

// nextTimersSQL finds, for each machine $1, when the first row at or after $2 is due, and the
// first row that is not due yet.
const nextTimersSQL pawlSQL = `
SELECT m.machine, now(),
       (SELECT t.due FROM pawl.timers AS t WHERE t.machine = m.machine AND t.due >= m.since ORDER BY t.due LIMIT 1),
       (SELECT t.due FROM pawl.timers AS t WHERE t.machine = m.machine AND t.due > now() ORDER BY t.due LIMIT 1)
FROM unnest($1::text[], $2::timestamptz[]) AS m(machine, since)`

// A nextTimer is what nextTimersSQL finds for one machine. first and next may be nil.
type nextTimer struct {
	machine     string
	now         time.Time
	first, next *time.Time
}

func (s *snapshot) nextTimers(ctx context.Context, since times) (next []nextTimer, err error) {
	batch := &pgx.Batch{} // sent as one transaction, to which the settings apply
	batch.Queue(settingsSQL)
	batch.Queue(s.schema.sql(nextTimersSQL), s.machines(), since).Query(func(rows pgx.Rows) error {
		next, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n nextTimer, err error) {
			err = row.Scan(&n.machine, &n.now, &n.first, &n.next)
			return n, err
		})
		return err
	})
	err = s.pool.SendBatch(ctx, batch).Close()
	return next, err
}
