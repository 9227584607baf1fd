package postgres

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// maxCounted limits the rows that CountTimers reads of each machine, for each of its counts.
const maxCounted = 10_000

// maxTimerWait is the longest wait before a timer that could not be fired is tried again.
const maxTimerWait = time.Minute

// CountTimers counts the armed timers of the store's machines. It counts all of them, also
// those that no longer hold because their entity has left the state. It reads a limited
// number of rows, so it is cheap, and the counts may be too low: see [versioning.TimerCounts].
func (s *Store) CountTimers(ctx context.Context) (counts versioning.TimerCounts, err error) {
	batch := &pgx.Batch{}
	batch.Queue(settingsSQL)
	batch.Queue(s.schema.sql(countTimersSQL), s.snapshot.Load().machines(), maxCounted, maxTimerWait, packSpan).QueryRow(func(row pgx.Row) error {
		return scanTimerCounts(row, &counts)
	})
	err = s.pool.SendBatch(ctx, batch).Close()
	return counts, withCause(throughPooler(err))
}

func scanTimerCounts(row pgx.Row, counts *versioning.TimerCounts) error {
	var oldest *time.Time
	err := row.Scan(&counts.Pending, &counts.Overdue, &oldest, &counts.AtLeast)
	if oldest != nil {
		counts.Oldest = *oldest
	}
	return err
}

// countTimersSQL counts the timers of the machines $1, in up to $2 rows each of those that
// are due and those that are not. A timer that could not be fired is overdue, although it
// is due again later, by at most $3. Only the rows that have become due within $4, which is
// packSpan, may have timers that are not due yet.
const countTimersSQL pawlSQL = `
SELECT coalesce(sum(t.n - t.overdue), 0)::bigint, coalesce(sum(t.overdue), 0)::bigint, min(t.since), coalesce(bool_or(t.rows >= $2), false)
FROM unnest($1::text[]) AS m(machine)
CROSS JOIN LATERAL (
	SELECT a.n, a.since, count(*) OVER () AS rows, CASE
		WHEN a.since IS NULL THEN 0
		WHEN a.tries = 0 AND a.due > now() - $4::interval AND a.dues IS NOT NULL THEN (SELECT count(*) FROM unnest(a.dues) AS d WHERE d <= now())
		ELSE a.n END AS overdue
	FROM (
		SELECT n, tries, due, dues, CASE WHEN tries > 0 THEN coalesce(dues[1], due) WHEN due <= now() THEN due END AS since
		FROM pawl.timers WHERE machine = m.machine AND due <= now() + $3::interval ORDER BY due LIMIT $2
	) AS a
	UNION ALL
	SELECT b.n, NULL, count(*) OVER (), 0 FROM (
		SELECT n FROM pawl.timers WHERE machine = m.machine AND due > now() + $3::interval ORDER BY due LIMIT $2
	) AS b
) AS t`

// A TimerFilter selects armed timers. The zero value selects all. All fields that are set must
// match.
type TimerFilter struct {
	Machine string
	Key     string // of the entity
	Event   statemachine.Event
	To      time.Time // due before this time

	// Limit limits how many timers are returned. 0 means 100.
	Limit int
}

// An ArmedTimer is a timer that has not fired yet. It may no longer hold: nothing is written
// when its entity leaves the state.
type ArmedTimer struct {
	Entity versioning.Entity
	versioning.Timer

	// Tries is how often the timer could not be fired.
	Tries int
}

// Timers returns the timers that match, in the order in which they are due. It is for people
// who look for the timers of an entity: it may have to read all armed timers.
func (s *Store) Timers(ctx context.Context, f TimerFilter) ([]ArmedTimer, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listTimersSQL), oneMessage, f.Machine, f.Key, string(f.Event), orNil(f.To), cmp.Or(max(f.Limit, 0), defaultLimit))
	var all []ArmedTimer
	if err == nil {
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t ArmedTimer, err error) {
			err = row.Scan(&t.Entity.Machine, &t.Entity.Key, &t.Event, &t.Version, &t.Due, &t.Tries)
			return t, err
		})
	}
	return all, withCause(err)
}

// $1 machine, $2 entity, $3 event, $4 to, $5 limit
const listTimersSQL pawlSQL = `
SELECT t.machine, u.entity, t.event, u.version, coalesce(u.due, t.due), t.tries
FROM pawl.timers AS t CROSS JOIN LATERAL unnest(t.entities, t.versions, t.dues) AS u(entity, version, due)
WHERE ($1 = '' OR t.machine = $1) AND ($2 = '' OR $2 = ANY (t.entities) AND u.entity = $2) AND ($3 = '' OR t.event = $3)
  AND ($4::timestamptz IS NULL OR coalesce(u.due, t.due) < $4)
ORDER BY coalesce(u.due, t.due), t.id, u.entity LIMIT $5`
