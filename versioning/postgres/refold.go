package postgres

import (
	"github.com/pawl-go/pawl/versioning"

	"context"
	"fmt"
)

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
