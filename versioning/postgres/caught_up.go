package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// partitionGone is the time after which a partition no longer stops the clock if nobody
// reports reading it: its topic may be deleted, or no longer consumed. It is Kafka's
// default retention. A partition that is reported again later counts as a new one.
const partitionGone = 7 * 24 * time.Hour

// clockLockTimeout limits how long the clock waits for a parked record that another
// transaction is judging. It is shorter than PostgreSQL's deadlock_timeout, so if the
// two wait for each other, PostgreSQL does not abort the other one.
const clockLockTimeout = "500ms"

// clockLockSQL ensures that one transaction at a time moves the clock of machine $1 in
// schema $2. clockKnowSQL stores which partitions exist: $1 machine, $2 topic IDs, $3
// partitions, $4 partitionGone.
const (
	clockLockSQL pawlSQL = `
SELECT set_config('lock_timeout', '` + clockLockTimeout + `', true),
       pg_advisory_xact_lock(hashtext($2), hashtext($1)), now()`
	clockKnowSQL pawlSQL = `
INSERT INTO pawl.caught_up AS c (machine, topic_id, partition, at)
SELECT $1, p.topic_id, p.partition, now() FROM unnest($2::uuid[], $3::integer[]) AS p(topic_id, partition)
ON CONFLICT (machine, topic_id, partition) DO UPDATE SET at = now() WHERE c.at < now() - $4::interval`
)

// clockSQL moves a machine's clock, and moves the parked_at of the records that the
// step must not age: $1 machine, $2 topic IDs, $3 partitions, $4 until when they are
// read, $5 whether there are new partitions, $6 the longest step that counts, $7
// partitionGone. A record that was parked during the step counts as parked at its end.
// With a new partition, whose content is unknown, all parked records start to wait from
// now.
const clockSQL pawlSQL = `
WITH before AS (
	SELECT min(at) FILTER (WHERE NOT $5) AS at FROM pawl.caught_up WHERE machine = $1 AND at >= now() - $7::interval
), moved AS (
	UPDATE pawl.caught_up AS c SET at = r.until
	FROM unnest($2::uuid[], $3::integer[], $4::timestamptz[]) AS r(topic_id, partition, until)
	WHERE c.machine = $1 AND c.topic_id = r.topic_id AND c.partition = r.partition AND c.at < r.until
	RETURNING c.topic_id, c.partition, c.at
), after AS (
	SELECT min(coalesce(m.at, c.at)) AS at
	FROM pawl.caught_up AS c LEFT JOIN moved AS m USING (topic_id, partition)
	WHERE c.machine = $1 AND c.at >= now() - $7::interval
)
UPDATE pawl.parked AS p SET parked_at = CASE
	WHEN before.at IS NULL THEN now()
	WHEN p.parked_at < before.at THEN p.parked_at + (after.at - before.at)
	ELSE after.at END
FROM before, after
WHERE p.machine = $1 AND CASE
	WHEN before.at IS NULL THEN p.parked_at < now()
	ELSE p.parked_at < after.at AND after.at - before.at > $6::interval END`

// advance moves the clock of a machine: the time until which all of its partitions are
// read. A step longer than Pause does not count: the clock moves, and parked_at of the
// parked records moves with it. advance returns the database's time.
func (s *snapshot) advance(ctx context.Context, t *table, read versioning.Reading) (now time.Time, err error) {
	machine := t.Machine.Name()
	ids, partitions, until := make([][16]byte, 0), make([]int32, 0), make([]*time.Time, 0)
	for _, p := range read.Partitions {
		ids, partitions, until = append(ids, p.TopicID), append(partitions, p.Partition), append(until, orNil(p.Until))
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, s.schema.sql(clockLockSQL), machine, s.schema.String()+" caught_up").Scan(nil, nil, &now); err != nil {
			return err
		}
		if len(ids) == 0 {
			return nil // only the caller's partitions can have moved
		}
		known, err := tx.Exec(ctx, s.schema.sql(clockKnowSQL), machine, ids, partitions, partitionGone)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, s.schema.sql(clockSQL), machine, ids, partitions, until, known.RowsAffected() > 0, read.Pause, partitionGone)
		return err
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("store how far partitions are read: %w", err)
	}
	return now, nil
}
