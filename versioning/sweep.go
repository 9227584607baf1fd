package versioning

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Swept says what a sweep did.
type Swept struct {
	Released []Settled // parked records that got their last verdict
	Expired  int       // parked records that became dead letters, for their age
}

// sweepLimit bounds the rows that one statement of a sweep takes.
const sweepLimit = 500

// Sweep looks after the parked records of the store's machines. It judges those
// again whose entity has moved since they were last judged: a worker that moved
// it at the moment of parking could not see them. It judges those again that
// another worker parked because it did not know the entity's state. And it makes
// dead letters of those that have waited longer than Table.ParkFor. What fails
// keeps it from nothing else; the error joins all of that. Any number of workers
// may sweep at the same time; package consumer does so from time to time.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var swept Swept
	var problems []error
	for _, t := range s.tables {
		released, err := s.wakeMoved(ctx, t)
		swept.Released = append(swept.Released, released...)
		if err != nil {
			problems = append(problems, fmt.Errorf("sweep records parked for machine %q: %w", t.Machine.Name(), err))
		}
		expired, err := s.expire(ctx, t)
		swept.Expired += expired
		if err != nil {
			problems = append(problems, fmt.Errorf("expire records parked for machine %q: %w", t.Machine.Name(), err))
		}
	}
	return swept, throughPooler(errors.Join(problems...))
}

// wakeMoved judges the parked records again whose entity is not where it was, in the
// order of their keys, until none is left.
func (s *Store) wakeMoved(ctx context.Context, t *table) (released []Settled, err error) {
	var stuck []error // must not keep the other entities from being looked after
	for after := ""; ; {
		keys, err := s.moved(ctx, t, after)
		if err != nil {
			return released, errors.Join(append(stuck, err)...)
		}
		for _, key := range keys {
			more, err := s.wakeOne(ctx, Entity{t.Machine.Name(), key})
			released = append(released, more...)
			switch {
			case errors.Is(err, ErrContended), isCode(err, queryCanceled, lockNotAvailable) && ctx.Err() == nil:
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

// wakeOne judges the records that are parked for an entity again, one by one if
// PostgreSQL refuses what one of them brings.
func (s *Store) wakeOne(ctx context.Context, e Entity) ([]Settled, error) {
	plan, err := s.refold(ctx, e, nil)
	if CauseOf(err) == Data {
		return s.refoldAlone(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	return plan.Release, nil
}

// moved returns the next keys, after one, of entities whose parked records are to be
// judged again.
func (s *Store) moved(ctx context.Context, t *table, after string) (keys []string, err error) {
	var states []string
	for _, state := range t.Machine.States() {
		states = append(states, string(state))
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.movedSQL(), t.Machine.Name(), sweepLimit, states, after)
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return keys, err
}

// expire makes dead letters of the records that have waited too long.
func (s *Store) expire(ctx context.Context, t *table) (expired int, err error) {
	if t.ParkFor < 0 {
		return 0, nil
	}
	for {
		tag, err := s.pool.Exec(ctx, expireSQL, alone, t.Machine.Name(), t.ParkFor, sweepLimit)
		if err != nil {
			return expired, err
		}
		expired += int(tag.RowsAffected())
		if tag.RowsAffected() < sweepLimit {
			return expired, nil
		}
	}
}

// CopyDeadLetters hands up to limit dead letters of the given topics, the oldest
// first, that were not copied yet to copyTo, and notes as copied those whose IDs
// it returns, also when it returns an error. Other callers do not get the same
// ones meanwhile. If the process dies in between, they are handed out again: a
// copy is made at least once. It returns how many were copied.
func (s *Store) CopyDeadLetters(ctx context.Context, topics []string, limit int,
	copyTo func(context.Context, []DeadLetter) (copied []int64, err error),
) (int, error) {
	var copied []int64
	var failed error
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, readUncopiedSQL, topics, limit)
		if err != nil {
			return fmt.Errorf("read dead letters to copy: %w", err)
		}
		letters, err := collectDeadLetters(rows)
		if err != nil {
			return fmt.Errorf("read dead letters to copy: %w", err)
		}
		if len(letters) == 0 {
			return nil
		}
		if copied, failed = copyTo(ctx, letters); len(copied) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, markCopiedSQL, copied); err != nil {
			return fmt.Errorf("note dead letters as copied: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, errors.Join(failed, throughPooler(err))
	}
	if failed != nil {
		failed = fmt.Errorf("copy dead letters: %w", failed)
	}
	return len(copied), failed
}
