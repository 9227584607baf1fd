package versioning

import (
	"context"
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
// it at the moment of parking could not see them. And it makes dead letters of
// those that have waited longer than Table.ParkFor. Any number of workers may
// sweep at the same time; package consumer does so from time to time.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var swept Swept
	for _, t := range s.tables {
		released, err := s.wakeMoved(ctx, t)
		swept.Released = append(swept.Released, released...)
		if err != nil {
			return swept, fmt.Errorf("sweep records parked for machine %q: %w", t.Machine.Name(), err)
		}
		expired, err := s.expire(ctx, t)
		swept.Expired += expired
		if err != nil {
			return swept, fmt.Errorf("expire records parked for machine %q: %w", t.Machine.Name(), err)
		}
	}
	return swept, nil
}

// wakeMoved judges the parked records again whose entity is not where it was.
func (s *Store) wakeMoved(ctx context.Context, t *table) (released []Settled, err error) {
	rows, err := s.pool.Query(ctx, t.movedSQL(), t.Machine.Name(), sweepLimit)
	if err != nil {
		return nil, err
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		e := Entity{t.Machine.Name(), key}
		plan, err := s.refold(ctx, e, nil)
		if err == nil {
			released = append(released, plan.Release...)
			continue
		}
		if CauseOf(err) != Data {
			return released, err
		}
		more, err := s.refoldAlone(ctx, e)
		released = append(released, more...)
		if err != nil {
			return released, err
		}
	}
	return released, nil
}

// expire makes dead letters of the records that have waited too long.
func (s *Store) expire(ctx context.Context, t *table) (expired int, err error) {
	if t.ParkFor < 0 {
		return 0, nil
	}
	for {
		tag, err := s.pool.Exec(ctx, expireSQL, t.Machine.Name(), t.ParkFor, sweepLimit)
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
// first, that were not copied yet to copy, and notes them as copied once it has
// returned nil. Other callers do not get the same ones meanwhile. If the process
// dies in between, they are handed out again: a copy is made at least once. It
// returns how many were copied.
func (s *Store) CopyDeadLetters(ctx context.Context, topics []string, limit int, copyTo func(context.Context, []DeadLetter) error) (int, error) {
	var letters []DeadLetter
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, readUncopiedSQL, topics, limit)
		if err != nil {
			return fmt.Errorf("read dead letters to copy: %w", err)
		}
		if letters, err = collectDeadLetters(rows); err != nil {
			return fmt.Errorf("read dead letters to copy: %w", err)
		}
		if len(letters) == 0 {
			return nil
		}
		if err := copyTo(ctx, letters); err != nil {
			return fmt.Errorf("copy %d dead letters: %w", len(letters), err)
		}
		ids := make([]int64, len(letters))
		for i, l := range letters {
			ids[i] = l.ID
		}
		if _, err := tx.Exec(ctx, markCopiedSQL, ids); err != nil {
			return fmt.Errorf("note dead letters as copied: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(letters), nil
}
