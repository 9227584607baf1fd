package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/versioning"
)

// sweepLimit limits the rows that one statement of a sweep processes.
const sweepLimit = 500

// Sweep processes the parked records of the store's machines. It judges those again
// whose entity has moved since they were last judged, because a worker that moved it
// while they were being parked could not see them. It judges those again that another
// worker parked because it did not know the entity's state, or has an older version of the
// machine, and those that wait for a newer version that was withdrawn. And it makes dead letters
// of those that have waited longer than Table.ParkFor, or longer than Table.KeepUnknown because
// their event is unknown. One failure does not stop the
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
		if holds, err := t.fingerprint.holds(ctx, s.pool); err == nil && !holds {
			return swept, errAltered // perhaps a newer definition, which decides what to judge again
		}
		now, late := s.advance(ctx, t, read)
		if late == nil && swept.At.IsZero() {
			swept.At = now
		}
		released, stuck := s.wakeMoved(ctx, t)
		swept.Released = append(swept.Released, released...)
		unknown, blocked, unburied := s.expireUnknown(ctx, t)
		swept.Expired += unknown
		released, stuckToo, failed := s.wakeAll(ctx, t, blocked)
		swept.Released = append(swept.Released, released...)
		var unexpired error
		if late == nil { // without an up-to-date clock, nothing may expire
			expired, err := s.expire(ctx, t)
			swept.Expired, unexpired = swept.Expired+expired, err
		}
		if err := errors.Join(late, stuck, unburied, stuckToo, failed, unexpired); err != nil {
			problems = append(problems, fmt.Errorf("sweep records parked for machine %q: %w", t.Machine.Name(), err))
		}
	}
	return swept, errors.Join(problems...)
}

// wakeMoved judges the parked records of entities that have moved, in the order of
// their keys, until none is left.
func (s *snapshot) wakeMoved(ctx context.Context, t *table) (released []versioning.Settled, err error) {
	for after := ""; ; {
		keys, failed := s.moved(ctx, t, after)
		if failed != nil {
			return released, errors.Join(err, failed)
		}
		more, stuck, failed := s.wakeAll(ctx, t, keys)
		released, err = append(released, more...), errors.Join(err, stuck, failed)
		if len(keys) < sweepLimit || failed != nil {
			return released, err
		}
		after = keys[len(keys)-1]
	}
}

// wakeAll judges the parked records of some entities. The error stuck is about those that others have
// locked, which do not keep the rest from being processed.
func (s *snapshot) wakeAll(ctx context.Context, t *table, keys []string) (released []versioning.Settled, stuck, err error) {
	for _, key := range keys {
		more, err := s.refold(ctx, "", versioning.Entity{Machine: t.Machine.Name(), Key: key})
		released = append(released, more...)
		switch {
		case errors.Is(err, versioning.ErrContended), isCode(err, queryCanceled, lockNotAvailable) && ctx.Err() == nil:
			stuck = errors.Join(stuck, fmt.Errorf("entity %q: %w", key, err))
		case err != nil:
			return released, stuck, err
		}
	}
	return released, stuck, nil
}

// refold judges the records parked for an entity again: in one transaction, unless the
// entity has to be read again in between.
func (s *snapshot) refold(ctx context.Context, on versioning.Server, e versioning.Entity) (released []versioning.Settled, err error) {
	refold := func(view *versioning.View) *versioning.Plan { return versioning.Refold(s.rules, view) }
	for again := []versioning.Entity{e}; len(again) > 0; again = again[1:] {
		probe := []*versioning.Record{{Changes: []versioning.Change{{Machine: again[0].Machine, Key: again[0].Key}}}}
		plan, err := s.settle(ctx, on, decision{records: probe, judge: refold}, true)
		if err != nil {
			return released, fmt.Errorf("judge the records parked for %s again: %w", again[0], err)
		}
		released = append(released, plan.Release...)
		for _, next := range plan.Again {
			if next != again[0] || len(plan.Moves)+len(plan.Release) > 0 { // otherwise nothing would change
				again = append(again, next)
			}
		}
	}
	return released, nil
}
