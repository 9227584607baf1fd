package versioning

import (
	"context"
	"fmt"
)

// refold judges the records that are parked for an entity again, in one transaction.
func (s *edition) refold(ctx context.Context, e Entity) ([]Settled, error) {
	probe := []*Record{{Changes: []Change{{Machine: e.Machine, Key: e.Key}}}}
	plan, err := s.settle(ctx, "", decision{
		read: func(ctx context.Context, tx sender, lock bool) (*View, error) {
			return s.read(ctx, tx, probe, reading{lock: lock, parked: true})
		},
		judge: func(view *View, refused map[*Record]error) *Plan { return refoldWithout(s.rules, view, refused) },
	}, true)
	if err != nil {
		return nil, fmt.Errorf("judge what is parked for %s again: %w", e, err)
	}
	return plan.Release, nil
}
