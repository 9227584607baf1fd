package versioningtest

import (
	"context"
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// Sweep judges the parked records whose entity has moved since they were last judged, because a
// concurrent batch that moved it could not see them, and those that an older version of the
// machine has judged. Memory never expires parked
// records, so it ignores how far the caller has read.
func (m *Memory) Sweep(ctx context.Context, _ versioning.Reading) (versioning.Swept, error) {
	if err := ctx.Err(); err != nil {
		return versioning.Swept{}, err
	}
	defer m.wake()
	m.mu.Lock()
	defer m.mu.Unlock()
	swept := versioning.Swept{At: time.Now()}
	for _, p := range slices.Clone(m.parked) {
		row, ok := m.rows[p.Entity]
		at := m.parkedAt(p.Record.Origin)
		if at < 0 {
			continue
		}
		moved := ok && m.parked[at].Seen != row.Version
		if !moved && !m.isOlder(m.parked[at]) {
			continue
		}
		plan := versioning.Refold(m.rules, m.viewOf(p.Entity))
		m.commit(plan)
		swept.Released = append(swept.Released, plan.Release...)
	}
	return swept, nil
}
