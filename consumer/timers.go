package consumer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

const (
	fireLimit  = 2000             // timers per call of FireTimers
	countEvery = 15 * time.Second // between two counts for the worker's health

	// fireRest is the shortest wait between two looks without a timer that could be fired. If
	// this machine's clock is ahead of the database's, the next timer seems to be due already.
	fireRest = 20 * time.Millisecond
)

// fireLoop fires timers when they are due. It wakes when the next timer that it knows is due, and
// every Config.FireEvery, because other workers arm timers too.
func (m *maintainer) fireLoop(ctx context.Context, firer TimerFirer) {
	trouble := pause{m.cfg.backOff()}
	for ctx.Err() == nil {
		next, err := m.fireDue(ctx, firer)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.log.fire(err)
			m.vitals.failedToFire(err)
			trouble.wait(ctx)
		default:
			m.vitals.fired()
			trouble.over()
			pace.Sleep(ctx, m.untilNext(next))
		}
	}
}

// untilNext returns how long to wait for a timer that is due next, or for one that is not known.
func (m *maintainer) untilNext(next time.Time) time.Duration {
	if next.IsZero() {
		return m.cfg.FireEvery
	}
	return min(max(time.Until(next), fireRest), m.cfg.FireEvery)
}

// fireDue fires all timers that are due, and returns when the next one is, or the zero time if it
// does not know. If many are due, several goroutines fire them.
func (m *maintainer) fireDue(ctx context.Context, firer TimerFirer) (next time.Time, err error) {
	for {
		fired, err := m.fireSome(ctx, firer)
		if err != nil || !fired.More {
			return fired.Next, err
		}
		if err := m.fireTogether(ctx, firer); err != nil {
			return time.Time{}, err
		}
	}
}

// fireTogether fires timers in Config.Connections goroutines, until no more are due.
func (m *maintainer) fireTogether(ctx context.Context, firer TimerFirer) error {
	errs := make([]error, m.cfg.Connections)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for more := true; more && errs[i] == nil; {
				var fired versioning.Fired
				fired, errs[i] = m.fireSome(ctx, firer)
				more = fired.More
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// fireSome fires some timers. It returns no error if the store has set a timer aside and others
// may be fired.
func (m *maintainer) fireSome(ctx context.Context, firer TimerFirer) (versioning.Fired, error) {
	fired, err := m.fireOnce(ctx, firer)
	if err == nil || !fired.More {
		return fired, err
	}
	m.log.setAside(err)
	if !pace.Sleep(ctx, fireRest) { // in case the store has not set it aside
		return fired, err
	}
	return fired, nil
}

func (m *maintainer) fireOnce(ctx context.Context, firer TimerFirer) (versioning.Fired, error) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	began := time.Now()
	fired, err := firer.FireTimers(ctx, fireLimit)
	settled := slices.Concat(fired.Outcomes, fired.Released)
	m.maintained(ctx, began, Maintenance{Task: Firing, Settled: settled, Err: err})
	m.log.fired(settled)
	if slices.ContainsFunc(settled, func(s versioning.Settled) bool { return s.Outcome.Verdict == versioning.Early }) {
		signal(m.parked)
	}
	if slices.ContainsFunc(settled, func(s versioning.Settled) bool { return s.Outcome.DeadLettered() }) {
		signal(m.letters)
	}
	return fired, err
}

// countLoop counts the armed timers for the worker's health.
func (m *maintainer) countLoop(ctx context.Context, counter TimerCounter) {
	for ctx.Err() == nil {
		m.countTimers(ctx, counter)
		pace.Sleep(ctx, countEvery)
	}
}

func (m *maintainer) countTimers(ctx context.Context, counter TimerCounter) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	switch counts, err := counter.CountTimers(ctx); {
	case err == nil:
		m.vitals.counted(counts)
	case !errors.Is(ctx.Err(), context.Canceled):
		m.log.countTimers(err)
	}
}

// failedToFire records that timers could not be fired. fired ends that: they were fired, or none
// is due.
func (v *vitals) failedToFire(err error) {
	v.change(func() { v.firing.Begin(reasonTimers, "", err) })
}

func (v *vitals) fired() {
	v.change(v.firing.End)
}

// counted records how many timers are armed.
func (v *vitals) counted(counts versioning.TimerCounts) {
	v.change(func() { v.timers = counts })
}
