package versioning

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// refold judges the records that are parked for an entity again, in one
// transaction. If only is not nil, it judges that one alone.
func (s *Store) refold(ctx context.Context, e Entity, only *Origin) (*Plan, error) {
	return s.transact(ctx, s.redecide(e, only, nil))
}

// redecide is the decision about the records that are parked for an entity. The
// one whose origin is refused is rejected for that.
func (s *Store) redecide(e Entity, only *Origin, refused error) decision {
	return func(ctx context.Context, tx sender, lock bool) (*Plan, error) {
		probe := []*Record{{Changes: []Change{{Machine: e.Machine, Key: e.Key}}}}
		view, err := s.read(ctx, tx, probe, reading{lock: lock, parked: true})
		if err != nil {
			return nil, err
		}
		if only != nil {
			view.keepParked(*only)
		}
		if refused != nil && len(view.Parked) > 0 {
			view.Parked[0].Record.Err = &Refusal{ReasonConstraint, refused}
		}
		return Refold(s.rules, view), nil
	}
}

// keepParked drops all parked records but one from a view.
func (v *View) keepParked(only Origin) {
	kept := v.Parked[:0]
	for _, p := range v.Parked {
		if p.Record.Origin == only {
			kept = append(kept, p)
		}
	}
	v.Parked = kept
}

// releaseAlone judges the records that are parked for a record's entities, each
// in a transaction of its own, so that one that PostgreSQL refuses is rejected
// alone.
func (s *Store) releaseAlone(ctx context.Context, by *Record) (released []Settled, err error) {
	if by.Err != nil {
		return nil, nil //nolint:nilerr // it names no entities that could be read; its verdict says why
	}
	seen := make(map[Entity]bool)
	for i := range by.Changes {
		e := entityOf(by, i)
		if seen[e] {
			continue
		}
		seen[e] = true
		more, err := s.refoldAlone(ctx, e)
		released = append(released, more...)
		if err != nil {
			return released, err
		}
	}
	return released, nil
}

// refoldAlone judges the records that are parked for an entity one by one, in
// their order, and starts again after each that moved something.
func (s *Store) refoldAlone(ctx context.Context, e Entity) (released []Settled, err error) {
	for again := true; again; {
		again = false
		waiting, err := s.parkedFor(ctx, e)
		if err != nil {
			return released, err
		}
		for _, p := range waiting {
			settled, err := s.refoldOne(ctx, e, p.Record.Origin)
			released = append(released, settled...)
			if err != nil {
				return released, err
			}
			if len(settled) > 0 && settled[0].Outcome.Verdict == Applied {
				again = true
				break
			}
		}
	}
	return released, nil
}

func (s *Store) parkedFor(ctx context.Context, e Entity) (parked []Parked, err error) {
	probe := []*Record{{Changes: []Change{{Machine: e.Machine, Key: e.Key}}}}
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		view, err := s.read(ctx, tx, probe, reading{parked: true})
		if err == nil {
			parked = view.Parked
		}
		return err
	})
	return parked, err
}

// refoldOne judges one parked record, and rejects it if PostgreSQL refuses it.
func (s *Store) refoldOne(ctx context.Context, e Entity, at Origin) ([]Settled, error) {
	plan, err := s.refold(ctx, e, &at)
	if CauseOf(err) == Data {
		plan, err = s.transact(ctx, s.redecide(e, &at, err))
	}
	if err != nil {
		return nil, fmt.Errorf("judge the parked record %s again: %w", at, err)
	}
	return plan.Release, nil
}
