package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// maxFired is the largest number of timers that one transaction fires.
const maxFired = 2000

// FireTimers makes the events of due timers happen: up to limit of them, in one transaction.
// 0, and any limit above 2,000, means 2,000. A timer's event takes the same path as a record
// ([versioning.TimerRecord]). The transaction that settles it also removes the timer, so each
// timer fires exactly once, whatever fails. If its event can't happen, its record is parked or
// becomes a dead letter, like any other.
//
// Any number of goroutines and processes may call FireTimers at the same time: each call skips
// the timers that others are firing. Timers of one machine fire nearly in the order in which
// they are due. To fire everything that is due, call it until [versioning.Fired].More is false.
// If little is due, it costs one short query.
//
// A timer that can't be fired now, because somebody has locked its entity's row for longer than
// two seconds (or the role's lock_timeout), or because of an error that no other timer has, is
// tried again after a second, and then after twice the wait each time, up to a minute. It does
// not hold up the others. FireTimers then returns its error, and More, unless the timer can't
// even be set aside.
//
// An error has the cause Infrastructure or Fatal; see [CauseOf]. The outcomes are true even if
// there is an error.
func (s *Store) FireTimers(ctx context.Context, limit int) (versioning.Fired, error) {
	if limit <= 0 || limit > maxFired {
		limit = maxFired
	}
	var fired versioning.Fired
	err := s.retryAltered(ctx, func(e *snapshot) error {
		some, err := e.fireTimers(ctx, &s.watch, limit)
		some.Outcomes, some.Released = append(fired.Outcomes, some.Outcomes...), append(fired.Released, some.Released...)
		fired = some
		return err
	})
	if err != nil {
		err = fmt.Errorf("fire timers: %w", err)
	}
	return fired, withCause(throughPooler(err))
}

// fireTimers fires timers if some are due. After an error that fewer timers may not cause, it
// tries fewer, in the end a single one.
func (s *snapshot) fireTimers(ctx context.Context, watch *timerWatch, limit int) (versioning.Fired, error) {
	look, err := watch.look(ctx, s)
	fired := versioning.Fired{Next: look.next}
	if err != nil || !look.due {
		return fired, err
	}
	for limit = watch.start(limit); ; {
		c := &firing{since: look.since, limit: limit}
		plan, err := s.settle(ctx, "", decision{firing: c}, true)
		n := len(c.records)
		switch {
		case err == nil:
			watch.settled(n)
			fired.More = c.more || len(plan.Outcomes) < n
			for i, o := range plan.Outcomes {
				fired.Outcomes = append(fired.Outcomes, versioning.Settled{Record: c.records[i], Outcome: o})
			}
			fired.Released = plan.Release
			more, err := s.refoldAll(ctx, "", plan.Again)
			fired.Released = append(fired.Released, more.Released...)
			return fired, err
		case errors.Is(err, errNothingDue):
			return fired, nil // others fire them
		case n == 0 || ctx.Err() != nil || !fewerMayHelp(err):
			return fired, err
		case n > 1:
			limit = (n + parts - 1) / parts
			watch.failed(limit)
			continue
		}
		err = fmt.Errorf("the timer of %s for event %q, which is tried again later: %w", c.records[0].Entity(0), c.records[0].Changes[0].Event, err)
		problem := s.postpone(ctx, c)
		fired.More = problem == nil // else nothing may be possible
		return fired, errors.Join(err, problem)
	}
}

// fewerMayHelp reports whether fewer timers may fire where these did not, or the others can if
// one is left out.
func fewerMayHelp(err error) bool {
	return splitMayHelp(err) || errors.Is(err, versioning.ErrContended) || errors.Is(err, errOwnTables) || errors.Is(err, ErrAllRefused)
}

// A firing takes due timers, in the transaction that settles them. Each attempt of a settlement
// takes them again.
type firing struct {
	since times // for each machine, from when on to look for due timers
	limit int
	only  *timerRow // take just one timer, of this row

	now     time.Time
	rows    []claimedRow
	records []*versioning.Record // of the timers
	timers  []claimedTimer       // by record
	more    bool                 // there may be more timers that are due
	view    *versioning.View
}

// A claimedRow is a locked row, and how many of its timers were taken.
type claimedRow struct {
	timerRow

	taken int
}

// A claimedTimer is the place of a timer in the rows of a firing.
type claimedTimer struct {
	row, i int
	due    time.Time
}

// errNothingDue says that there is no timer to fire, except those that others are firing.
var errNothingDue = errors.New("no timer is due")

// take locks rows and makes the records of their due timers, in the order in which these are
// due.
func (f *firing) take(ctx context.Context, tx *transaction) error {
	if err := f.lock(ctx, tx); err != nil {
		return err
	}
	f.now, f.timers, f.records = tx.now, nil, nil
	claimed := 0
	for row := range f.rows {
		r := &f.rows[row]
		claimed += len(r.entities)
		for i := range r.entities {
			if due := r.timer(i).due; !due.After(f.now) && len(f.timers) < f.limit {
				f.timers = append(f.timers, claimedTimer{row, i, due})
				r.taken++
			}
		}
	}
	f.more = claimed >= f.limit || len(f.rows) >= maxTimerRows // also if few of them are due
	if len(f.timers) == 0 {
		return errNothingDue
	}
	slices.SortStableFunc(f.timers, func(a, b claimedTimer) int { return a.due.Compare(b.due) })
	for _, t := range f.timers {
		r := &f.rows[t.row]
		record := versioning.TimerRecord(versioning.Entity{Machine: r.kind.machine, Key: r.entities[t.i]},
			versioning.Timer{Event: r.kind.event, Version: r.versions[t.i], Due: t.due})
		tx.store.ready(record)
		f.records = append(f.records, record)
	}
	return nil
}

// lock locks and reads the rows.
func (f *firing) lock(ctx context.Context, tx *transaction) error {
	s := tx.store
	f.rows = nil
	batch := &pgx.Batch{}
	batch.Queue(lockTimeoutSQL)
	scan := func(rows pgx.Rows) (err error) {
		f.rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r claimedRow, err error) {
			err = r.scan(row)
			return r, err
		})
		return err
	}
	if f.only != nil {
		batch.Queue(s.schema.sql(claimTimerSQL), f.only.kind.machine, f.only.due, f.only.id).Query(scan)
	} else {
		batch.Queue(s.schema.sql(claimTimersSQL), texts(s.machines()), f.since, f.limit, maxTimerRows).Query(scan)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("%w timers: %w", errRead, err)
	}
	return nil
}

// decision returns the decision about the claimed timers.
func (f *firing) decision(s *snapshot) decision {
	d := s.decisionOn(f.records)
	fold := d.judge
	d.judge = func(view *versioning.View) *versioning.Plan {
		f.view = view
		return fold(view)
	}
	d.firing = f
	return d
}

// putBack adds the timers of the removed rows that are not settled: those that are not due yet
// or were not taken, and those of the records from the given number on.
func (f *firing) putBack(armed *timers, settled int) {
	done := make(map[claimedTimer]bool, settled)
	for _, t := range f.timers[:settled] {
		done[claimedTimer{row: t.row, i: t.i}] = true
	}
	for row := range f.rows {
		r := &f.rows[row]
		if r.taken == 0 {
			continue
		}
		for i := range r.entities {
			if !done[claimedTimer{row: row, i: i}] {
				t := r.timer(i)
				t.at = later(t.at, f.now)
				armed.add(r.kind, t)
			}
		}
	}
}

// postpone makes a claimed timer due later, because it could not be fired. Other timers of its
// row stay due. If somebody else has locked the row since, postpone does nothing.
func (s *snapshot) postpone(ctx context.Context, failed *firing) error {
	at := failed.timers[0]
	row := &failed.rows[at.row].timerRow
	err := s.inTransaction(ctx, func(tx *transaction) error {
		c := &firing{only: row, limit: len(row.entities)}
		if err := c.take(ctx, tx); err != nil {
			return err
		}
		r := &c.rows[0]
		var armed timers
		c.putBack(&armed, 0)
		some := armed.ofKind[r.kind]
		t := some[at.i]
		armed.ofKind[r.kind] = slices.Delete(some, at.i, at.i+1)
		kind := r.kind
		kind.tries++
		t.at = c.now.Add(timerWait(kind.tries))
		armed.add(kind, t)
		w := &writer{store: s, batch: &pgx.Batch{}}
		w.unarm(c)
		w.timers(&armed)
		return tx.finish(ctx, w.batch)
	})
	if errors.Is(err, errNothingDue) {
		return nil
	}
	return err
}

// timerWait returns how long a timer waits that could not be fired so often.
func timerWait(tries int32) time.Duration {
	if tries > 6 {
		return maxTimerWait
	}
	return time.Second << (tries - 1)
}
