package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// CountStored counts what waits in the framework's tables: the parked records and the dead
// letters of the store's machines, and the messages of its outbox. It reads at most 10,000 rows
// for each count, so it is cheap, and the counts may be too low: see [versioning.StoredCounts].
// It is for metrics; call it at intervals.
func (s *Store) CountStored(ctx context.Context) (counts versioning.StoredCounts, err error) {
	machines := append(s.snapshot.Load().machines(), "")
	// With the settings, a machine that has no rows is looked up in an index, however many rows the
	// others have.
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.schema.sql(countStoredSQL), machines, maxCounted)
		if err != nil {
			return err
		}
		counts.Machines, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m versioning.MachineCounts, err error) {
			err = row.Scan(&m.Machine, &m.Parked, &m.ParkedAge, &m.DeadLetters)
			m.AtLeast = m.Parked >= maxCounted || m.DeadLetters >= maxCounted
			return m, err
		})
		return err
	})
	if err == nil && s.Emits() {
		err = s.countOutbox(ctx, &counts)
	}
	if err != nil {
		return versioning.StoredCounts{}, withCause(fmt.Errorf("count what is stored: %w", throughPooler(err)))
	}
	return counts, nil
}

func (s *Store) countOutbox(ctx context.Context, counts *versioning.StoredCounts) error {
	d := &counts.Outbox
	var oldest *time.Time
	var readsUnsent bool
	err := s.pool.QueryRow(ctx, s.schema.sql(countOutboxSQL), oneMessage, maxCounted, versioning.Lanes, s.schema.String()).
		Scan(&d.Packs, &d.Messages, &oldest, &d.Age, &readsUnsent)
	if err != nil {
		return err
	}
	if oldest != nil {
		d.Oldest = *oldest
	}
	counts.OutboxAtLeast = d.Packs >= maxCounted
	if !readsUnsent {
		return nil
	}
	return s.pool.QueryRow(ctx, s.schema.sql(countUnsentSQL), oneMessage, maxCounted).Scan(&d.Unsent)
}

// countStoredSQL counts the parked records and dead letters of the machines $1, up to $2 each. A
// parked record always has a machine.
const countStoredSQL pawlSQL = `
SELECT m.machine, p.n, coalesce(greatest(clock_timestamp() - p.oldest, '0'), '0'), d.n
FROM unnest($1::text[]) WITH ORDINALITY AS m(machine, at)
CROSS JOIN LATERAL (SELECT count(*) AS n, min(a.parked_at) AS oldest
	FROM (SELECT parked_at FROM pawl.parked WHERE machine = m.machine LIMIT $2) AS a) AS p
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM pawl.dead_letters WHERE machine = m.machine LIMIT $2) AS b) AS d
ORDER BY m.at`

// countOutboxSQL counts up to $1 packs. The first pack of each of the $2 lanes says which is the
// oldest. $3 is the schema.
const countOutboxSQL pawlSQL = `
SELECT c.packs, c.messages, o.oldest, coalesce(greatest(clock_timestamp() - o.oldest, '0'), '0'),
       has_table_privilege(format('%I.%I', $3::text, 'unsent'), 'SELECT')
FROM (SELECT count(*) AS packs, coalesce(sum(n), 0)::bigint AS messages FROM (SELECT n FROM pawl.outbox LIMIT $1) AS a) AS c,
	(SELECT min(f.at) AS oldest FROM generate_series(0, $2::integer - 1) AS l(lane)
	CROSS JOIN LATERAL (SELECT at FROM pawl.outbox WHERE lane = l.lane ORDER BY id LIMIT 1) AS f) AS o`

const countUnsentSQL pawlSQL = `SELECT count(*) FROM (SELECT FROM pawl.unsent LIMIT $1) AS a`

// Contended returns how often, since the store was opened, it had to read rows and judge records
// again because another writer had changed the rows in between. A few are normal if several
// workers, callers of Do or other programs write the same entities.
func (s *Store) Contended() int64 { return s.contended.Load() }
