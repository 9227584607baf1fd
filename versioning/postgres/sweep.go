package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// sweepLimit bounds the rows that one statement of a sweep takes.
const sweepLimit = 500

// Sweep looks after the parked records of the store's machines. It judges those
// again whose entity has moved since they were last judged: a worker that moved
// it at the moment of parking could not see them. It judges those again that
// another worker parked because it did not know the entity's state. And it makes
// dead letters of those that have waited longer than Table.ParkFor. What fails
// keeps it from nothing else; the error joins all of that. Any number of workers
// may sweep at the same time; package consumer does so from time to time.
//
// ParkFor is measured by a clock that each machine has in the database: the time until
// which all partitions are read that any worker of the machine has told of, those of
// other workers included. While one of them lags behind, or nobody reads it, the clock
// stands still. When it goes on, by a step longer than read.Pause, that step does not
// count: parked records get older only while everything is read as it comes. A
// partition of which no worker has told for seven days, such as one of a deleted topic,
// does not hold up the clock any longer. When a new one is told of, all parked records
// begin to wait anew. A caller that reads nothing gives the zero Reading.
func (s *Store) Sweep(ctx context.Context, read versioning.Reading) (versioning.Swept, error) {
	var swept versioning.Swept
	err := s.again(ctx, func(e *edition) error {
		more, err := e.sweep(ctx, read)
		swept.Released, swept.Expired = append(swept.Released, more.Released...), swept.Expired+more.Expired
		if swept.At.IsZero() {
			swept.At = more.At
		}
		return err
	})
	return swept, withCause(throughPooler(err))
}

func (s *edition) sweep(ctx context.Context, read versioning.Reading) (swept versioning.Swept, err error) {
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
			continue // what is not noted may be behind
		}
		expired, err := s.expire(ctx, t)
		swept.Expired += expired
		if err != nil {
			problems = append(problems, fmt.Errorf("expire records parked for machine %q: %w", t.Machine.Name(), err))
		}
	}
	return swept, errors.Join(problems...)
}

// wakeMoved judges the parked records again whose entity is not where it was, in the
// order of their keys, until none is left.
func (s *edition) wakeMoved(ctx context.Context, t *table) (released []versioning.Settled, err error) {
	var stuck []error // must not keep the other entities from being looked after
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

// moved returns the next keys, after one, of entities whose parked records are to be
// judged again.
func (s *edition) moved(ctx context.Context, t *table, after string) (keys []string, err error) {
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

// movedSQL finds the entities of machine $1 that have moved since a record that
// is parked for them was judged: the version of the row is another one. It returns
// the first $2 of them after key $4, by key. Texts that are no keys, since the type of
// the key was another one when they were parked, are left to wait. A row
// that has not moved counts too if the record waits only because its state was
// unknown, and it is one of the states $3 now. An index on the key is of use only
// to a comparison under the key's collation, which pawl.parked does not have.
func (t *table) movedSQL(s *schema) string {
	return fmt.Sprintf(`
SELECT DISTINCT p.entity FROM %[7]s.parked AS p
JOIN %[1]s AS t ON t.%[2]s = %[4]s%[5]s
WHERE p.machine = $1 AND (t.%[3]s <> p.seen_version OR p.reason = 'unknown_state' AND t.%[6]s::text = ANY ($3::text[]))
	AND p.entity > $4
ORDER BY p.entity LIMIT $2`, t.ident, t.key.sqlName(), t.version.sqlName(), t.key.castOrNull("p.entity"), t.key.collate(), t.state.sqlName(), s.quoted)
}

// refold judges the records that are parked for an entity again, in one transaction.
func (s *edition) refold(ctx context.Context, e versioning.Entity) ([]versioning.Settled, error) {
	probe := []*versioning.Record{{Changes: []versioning.Change{{Machine: e.Machine, Key: e.Key}}}}
	plan, err := s.settle(ctx, "", decision{
		read: func(ctx context.Context, tx sender, lock bool) (*view, error) {
			return s.read(ctx, tx, probe, reading{lock: lock, parked: true})
		},
		judge: func(view *view, refused map[*versioning.Record]error) *plan {
			view.Refused = refused
			return &plan{Plan: versioning.Refold(s.rules, &view.View)}
		},
	}, true)
	if err != nil {
		return nil, fmt.Errorf("judge what is parked for %s again: %w", e, err)
	}
	return plan.Release, nil
}

// expire makes dead letters of the records that have waited too long.
func (s *edition) expire(ctx context.Context, t *table) (expired int, err error) {
	if t.ParkFor < 0 {
		return 0, nil
	}
	for {
		tag, err := s.pool.Exec(ctx, s.schema.sql(expireSQL), alone, t.Machine.Name(), t.ParkFor, sweepLimit, partitionGone)
		if err != nil {
			return expired, err
		}
		expired += int(tag.RowsAffected())
		if tag.RowsAffected() < sweepLimit {
			return expired, nil
		}
	}
}

// expireSQL moves parked records to the dead letters: $1 machine, $2 the time
// that they may wait by the machine's clock, $3 limit, $4 partitionGone. Where no
// partition is known there is no clock, and none expires. Rows that another
// transaction is at are left to it.
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
