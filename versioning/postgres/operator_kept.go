package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// kept counts what the framework has stored for a machine.
func (o *Operator) kept(ctx context.Context, m *MachineStatus) error {
	batch := &pgx.Batch{}
	batch.Queue(settingsSQL)
	batch.Queue(o.schema.sql(countParkedSQL), m.Name, countedKept+1).Query(m.Parked.scan)
	batch.Queue(o.schema.sql(countDeadSQL), m.Name, countedKept+1).Query(m.DeadLetters.scan)
	batch.Queue(o.schema.sql(countTimersSQL), []string{m.Name}, maxCounted, maxTimerWait, packSpan).QueryRow(func(row pgx.Row) error {
		return scanTimerCounts(row, &m.Timers)
	})
	batch.Queue(o.schema.sql(caughtUpSQL), m.Name).QueryRow(func(row pgx.Row) error {
		var at *time.Time
		err := row.Scan(&at)
		if at != nil {
			m.CaughtUp = *at
		}
		return err
	})
	if err := o.pool.SendBatch(ctx, batch).Close(); err != nil {
		return throughPooler(err)
	}
	return o.extremes(ctx, m)
}

// extremes looks for the parked record that has waited longest, and for the newest dead letter,
// among the first ones of all machines, if there were too many of the machine to look at all.
func (o *Operator) extremes(ctx context.Context, m *MachineStatus) error {
	var oldest, newest *time.Time
	if m.Parked.Count.AtLeast {
		if err := o.pool.QueryRow(ctx, o.schema.sql(oldestParkedSQL), oneMessage, m.Name, countedKept).Scan(&oldest); err != nil {
			return err
		}
	}
	if m.DeadLetters.Count.AtLeast {
		if err := o.pool.QueryRow(ctx, o.schema.sql(newestDeadSQL), oneMessage, m.Name, countedKept).Scan(&newest); err != nil {
			return err
		}
	}
	if oldest != nil && oldest.Before(m.Parked.Oldest) {
		m.Parked.Oldest = *oldest
	}
	if newest != nil && newest.After(m.DeadLetters.Newest) {
		m.DeadLetters.Newest = *newest
	}
	return nil
}

// scan reads reasons, and adds them up.
func (k *KeptStatus) scan(rows pgx.Rows) error {
	var r ReasonCount
	var oldest, newest time.Time
	_, err := pgx.ForEachRow(rows, []any{&r.Reason, &r.N, &oldest, &newest}, func() error {
		k.ByReason = append(k.ByReason, r)
		k.Count.N += r.N
		if k.Oldest.IsZero() || oldest.Before(k.Oldest) {
			k.Oldest = oldest
		}
		if newest.After(k.Newest) {
			k.Newest = newest
		}
		return nil
	})
	k.Count.AtLeast = k.Count.N > countedKept
	return err
}

const countParkedSQL pawlSQL = `
SELECT reason, count(*), min(parked_at), max(parked_at) FROM (SELECT reason, parked_at FROM pawl.parked WHERE machine = $1 LIMIT $2) AS t
GROUP BY reason ORDER BY 2 DESC, 1`

const countDeadSQL pawlSQL = `
SELECT reason, count(*), min(died_at), max(died_at) FROM (SELECT reason, died_at FROM pawl.dead_letters WHERE machine = $1 LIMIT $2) AS t
GROUP BY reason ORDER BY 2 DESC, 1`

const (
	oldestParkedSQL pawlSQL = `
SELECT min(parked_at) FROM (SELECT machine, parked_at FROM pawl.parked ORDER BY parked_at LIMIT $2) AS t WHERE machine = $1`

	newestDeadSQL pawlSQL = `
SELECT max(died_at) FROM (SELECT machine, died_at FROM pawl.dead_letters ORDER BY id DESC LIMIT $2) AS t WHERE machine = $1`
)

const caughtUpSQL pawlSQL = `SELECT min(at) FROM pawl.caught_up WHERE machine = $1`
