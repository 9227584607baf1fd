package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A timerWatch is what a store remembers about the timers between calls.
type timerWatch struct {
	mu    sync.Mutex
	since map[string]time.Time // no row of a machine is due before that, as far as is known
	full  time.Time            // when all rows were last considered
	size  int                  // how many timers the next transaction takes; 0 means no limit
}

// A row is never due before the transaction that inserts it has begun. So if no row is due
// before a time, new rows are due before it only if their transaction took longer than
// slowArming. The first look after lookAtAll finds those, because it considers all rows. Without
// such a bound, each look would visit the index entries of all rows that have fired since the
// oldest snapshot that somebody holds.
const (
	slowArming = time.Minute
	lookAtAll  = 30 * time.Second
)

// A timerLook is what a look at the timers finds.
type timerLook struct {
	since times
	due   bool      // a timer may be due
	next  time.Time // when the next one is due, by the clock of this process; zero if there is none
}

// look finds out whether timers are due, in one query that reads a few rows.
func (t *timerWatch) look(ctx context.Context, s *snapshot) (look timerLook, err error) {
	look.since = t.begin(s)
	found, err := s.nextTimers(ctx, look.since)
	if err != nil {
		return look, fmt.Errorf("%w timers: %w", errRead, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range found {
		since := f.now.Add(-slowArming)
		if f.first != nil && f.first.Before(since) {
			since = *f.first
		}
		t.since[f.machine] = since
		look.due = look.due || f.first != nil && !f.first.After(f.now)
		if f.next != nil {
			if next := time.Now().Add(f.next.Sub(f.now)); look.next.IsZero() || next.Before(look.next) {
				look.next = next
			}
		}
	}
	return look, nil
}

// begin returns from when on to look, for each machine.
func (t *timerWatch) begin(s *snapshot) times {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.full) >= lookAtAll || t.since == nil {
		t.full, t.since = time.Now(), make(map[string]time.Time)
	}
	since := make(times, len(s.tables))
	for i, machine := range s.machines() {
		since[i] = t.since[machine] // or the zero time, which is before all
	}
	return since
}

// start returns how many timers the next transaction takes.
func (t *timerWatch) start(limit int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size > 0 {
		limit = min(limit, t.size)
	}
	return limit
}

// failed notes that fewer timers are to be tried.
func (t *timerWatch) failed(size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size
}

// settled notes that a transaction has settled n timers. The next one may take twice as many.
func (t *timerWatch) settled(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size > 0 && n >= t.size {
		if t.size *= 2; t.size >= maxFired {
			t.size = 0
		}
	}
}
