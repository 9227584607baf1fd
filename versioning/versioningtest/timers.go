package versioningtest

import (
	"context"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// maxFired is the largest number of timers that one call fires.
const maxFired = 2000

// FireTimers makes the events of due timers happen, of up to limit of them, the first one
// that was due first; see [postgres.Store.FireTimers]. 0 means 2,000. The functions passed to
// Before, Between and After are called as for a batch of records.
func (m *Memory) FireTimers(ctx context.Context, limit int) (versioning.Fired, error) {
	if err := ctx.Err(); err != nil {
		return versioning.Fired{}, err
	}
	if limit <= 0 || limit > maxFired {
		limit = maxFired
	}
	due := m.due(limit)
	var fired versioning.Fired
	if len(due) > 0 {
		b := batch{timers: due}
		for _, t := range due {
			r := versioning.TimerRecord(t.Entity, t.Timer)
			m.Prepare(r)
			b.records = append(b.records, r)
		}
		result, err := m.apply(ctx, &b)
		if err != nil {
			return versioning.Fired{}, err
		}
		for i, o := range result.Outcomes {
			fired.Outcomes = append(fired.Outcomes, versioning.Settled{Record: b.records[i], Outcome: o})
		}
		fired.Released = result.Released
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.timers) > 0 {
		fired.Next = m.timers[0].Due
		fired.More = !fired.Next.After(m.now())
	}
	return fired, nil
}

// CountTimers counts the armed timers.
func (m *Memory) CountTimers(ctx context.Context) (versioning.TimerCounts, error) {
	if err := ctx.Err(); err != nil {
		return versioning.TimerCounts{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var counts versioning.TimerCounts
	for _, t := range m.timers {
		switch {
		case t.Due.After(m.now()):
			counts.Pending++
		case counts.Overdue == 0:
			counts.Oldest = t.Due
			fallthrough
		default:
			counts.Overdue++
		}
	}
	return counts, nil
}

// due returns the first due timers.
func (m *Memory) due(limit int) []Timer {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	n := slices.IndexFunc(m.timers, func(t Timer) bool { return t.Due.After(now) })
	if n < 0 {
		n = len(m.timers)
	}
	return slices.Clone(m.timers[:min(n, limit)])
}

// unclaimed removes from a batch the timers that somebody else has fired since it was made.
// It reports whether there were any.
func (m *Memory) unclaimed(b *batch) (gone bool) {
	var left batch
	for i, t := range b.timers {
		if slices.Contains(m.timers, t) {
			left.timers, left.records = append(left.timers, t), append(left.records, b.records[i])
		}
	}
	if gone = len(left.timers) < len(b.timers); gone {
		b.timers, b.records = left.timers, left.records
	}
	return gone
}

// disarm removes timers that have fired.
func (m *Memory) disarm(fired []Timer) {
	if len(fired) > 0 {
		m.timers = slices.DeleteFunc(m.timers, func(t Timer) bool { return slices.Contains(fired, t) })
	}
}
