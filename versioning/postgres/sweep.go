package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
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
