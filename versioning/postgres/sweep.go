package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// sweepLimit limits the rows that one statement of a sweep processes.
const sweepLimit = 500

// Sweep processes the parked records of the store's machines. It judges those again
// whose entity has moved since they were last judged, because a worker that moved it
// while they were being parked could not see them. It judges those again that another
// worker parked because it did not know the entity's state. And it makes dead letters
// of those that have waited longer than Table.ParkFor. One failure does not stop the
// rest; the error joins all of them. Any number of workers may sweep at the same time.
// Package consumer sweeps periodically.
//
// ParkFor is measured by a clock that each machine has in the database: the time up to
// which every partition that any worker of the machine has reported is read. While one
// of them lags behind, or nobody reads it, the clock stands still. When it moves on by
// a step longer than read.Pause, that step does not count. So parked records age only
// while everything is read as it arrives. A partition that no worker has reported for
// seven days, such as one of a deleted topic, no longer stops the clock. When a new
// partition is reported, all parked records start to wait from the beginning. A caller
// that reads nothing passes the zero Reading.
func (s *Store) Sweep(ctx context.Context, read versioning.Reading) (versioning.Swept, error) {
	var swept versioning.Swept
	err := s.retryAltered(ctx, func(e *snapshot) error {
		more, err := e.sweep(ctx, read)
		swept.Released, swept.Expired = append(swept.Released, more.Released...), swept.Expired+more.Expired
		if swept.At.IsZero() {
			swept.At = more.At
		}
		return err
	})
	return swept, withCause(throughPooler(err))
}

func (s *snapshot) sweep(ctx context.Context, read versioning.Reading) (swept versioning.Swept, err error) {
	var problems []error
	for _, t := range s.tables {
		now, late := s.advance(ctx, t, read)
		if late != nil {
			problems = append(problems, fmt.Errorf("sweep records parked for machine %q: %w", t.Machine.Name(), late))
		} else if swept.At.IsZero() {
			swept.At = now
		}
		released, err := s.wakeMoved(ctx, t)
		swept.Released = append(swept.Released, released...)
		if err != nil {
			problems = append(problems, fmt.Errorf("sweep records parked for machine %q: %w", t.Machine.Name(), err))
		}
		if late != nil {
			continue // without an up-to-date clock, nothing may expire
		}
		expired, err := s.expire(ctx, t)
		swept.Expired += expired
		if err != nil {
			problems = append(problems, fmt.Errorf("expire records parked for machine %q: %w", t.Machine.Name(), err))
		}
	}
	return swept, errors.Join(problems...)
}

// wakeMoved judges the parked records of entities that have moved, in the order of
// their keys, until none is left.
func (s *snapshot) wakeMoved(ctx context.Context, t *table) (released []versioning.Settled, err error) {
	var stuck []error // these must not keep the other entities from being processed
	for after := ""; ; {
		keys, err := s.moved(ctx, t, after)
		if err != nil {
			return released, errors.Join(append(stuck, err)...)
		}
		for _, key := range keys {
			more, err := s.refold(ctx, versioning.Entity{Machine: t.Machine.Name(), Key: key})
			released = append(released, more...)
			switch {
			case errors.Is(err, versioning.ErrContended), isCode(err, queryCanceled, lockNotAvailable) && ctx.Err() == nil:
				stuck = append(stuck, fmt.Errorf("entity %q: %w", key, err))
			case err != nil:
				return released, errors.Join(append(stuck, err)...)
			}
		}
		if len(keys) < sweepLimit {
			return released, errors.Join(stuck...)
		}
		after = keys[len(keys)-1]
	}
}

// moved returns the next keys, after the given one, of entities whose parked records
// must be judged again.
func (s *snapshot) moved(ctx context.Context, t *table, after string) (keys []string, err error) {
	var states []string
	for _, state := range t.Machine.States() {
		states = append(states, string(state))
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.movedSQL(s.schema), t.Machine.Name(), sweepLimit, states, after)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return keys, err
}

// movedSQL finds the entities of machine $1 that have moved since a record parked for
// them was judged: the row's version has changed. It returns the first $2 of them after
// key $4, in the order of their keys. A row that has not moved counts too if the record
// waits only because its state was unknown, and the state is one of $3 now. It skips
// texts that are not keys, because the key column had another type when they were
// parked. The comparison uses the key column's collation, because an index on the key
// can't be used otherwise, and pawl.parked has a different one.
func (t *table) movedSQL(s *schema) string {
	return fmt.Sprintf(`
SELECT DISTINCT p.entity FROM %[7]s.parked AS p
JOIN %[1]s AS t ON t.%[2]s = %[4]s%[5]s
WHERE p.machine = $1 AND (t.%[3]s <> p.seen_version OR p.reason = 'unknown_state' AND t.%[6]s::text = ANY ($3::text[]))
	AND p.entity > $4
ORDER BY p.entity LIMIT $2`, t.ident, t.key.sqlName(), t.version.sqlName(), t.key.castOrNull("p.entity"), t.key.collate(), t.state.sqlName(), s.quoted)
}

// refold judges the records parked for an entity again, in one transaction.
func (s *snapshot) refold(ctx context.Context, e versioning.Entity) ([]versioning.Settled, error) {
	probe := []*versioning.Record{{Changes: []versioning.Change{{Machine: e.Machine, Key: e.Key}}}}
	refold := func(view *versioning.View) *versioning.Plan { return versioning.Refold(s.rules, view) }
	plan, err := s.settle(ctx, "", decision{probe, refold}, true)
	if err != nil {
		return nil, fmt.Errorf("judge the records parked for %s again: %w", e, err)
	}
	return plan.Release, nil
}

// expire makes dead letters of the records that have waited too long.
func (s *snapshot) expire(ctx context.Context, t *table) (expired int, err error) {
	if t.ParkFor < 0 {
		return 0, nil
	}
	for {
		tag, err := s.pool.Exec(ctx, s.schema.sql(expireSQL), oneMessage, t.Machine.Name(), t.ParkFor, sweepLimit, partitionGone)
		if err != nil {
			return expired, err
		}
		expired += int(tag.RowsAffected())
		if tag.RowsAffected() < sweepLimit {
			return expired, nil
		}
	}
}

// expireSQL turns parked records into dead letters: $1 machine, $2 how long they may
// wait by the machine's clock, $3 limit, $4 partitionGone. If no partition is known,
// there is no clock and nothing expires. It skips rows that another transaction has
// locked.
const expireSQL pawlSQL = `
WITH expired AS (
	DELETE FROM pawl.parked AS p USING (
		SELECT topic_id, partition, "offset", scope FROM pawl.parked
		WHERE machine = $1 AND parked_at < (
			SELECT min(at) FROM pawl.caught_up WHERE machine = $1 AND at >= now() - $4::interval
		) - $2::interval
		ORDER BY parked_at LIMIT $3 FOR UPDATE SKIP LOCKED
	) AS old
	WHERE p.topic_id = old.topic_id AND p.partition = old.partition AND p."offset" = old."offset"
		AND p.scope = old.scope
	RETURNING p.*
)
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
                               machine, entity, event, key, value, headers, "timestamp")
SELECT topic_id, partition, "offset", scope, topic, 'rejected', 'parked_too_long',
       format('waited for the entity for longer than %s in which all partitions were read: %s, last judged at version %s',
              $2::interval, reason, seen_version),
       machine, entity, coalesce(changes->0->>'event', ''), key, value, headers, "timestamp"
FROM expired
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`
