package pawltest

import (
	"context"
	"slices"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// databaseTimers fires the timers of a database by the worker's clock. The database arms deadlines
// by its own clock, which tests can't move.
type databaseTimers struct {
	d     *database
	now   time.Time // by the worker's clock
	due   map[timerOf]time.Time
	fired map[timerOf]bool
}

// A timerOf names a timer.
type timerOf struct {
	entity  versioning.Entity
	event   statemachine.Event
	version int64
}

func newDatabaseTimers(d *database, now time.Time) *databaseTimers {
	return &databaseTimers{d, now, make(map[timerOf]time.Time), make(map[timerOf]bool)}
}

func nameOfTimer(t *postgres.ArmedTimer) timerOf { return timerOf{t.Entity, t.Event, t.Version} }

// list returns the armed timers that have not fired, as they are due by the worker's clock.
func (x *databaseTimers) list(ctx context.Context) (all []postgres.ArmedTimer, err error) {
	for _, t := range x.d.cfg.Tables {
		armed, err := x.d.Timers(ctx, postgres.TimerFilter{Machine: t.Machine.Name(), Limit: most})
		if err != nil {
			return nil, err
		}
		all = append(all, armed...)
	}
	all = slices.DeleteFunc(all, func(t postgres.ArmedTimer) bool { return x.fired[nameOfTimer(&t)] })
	for i := range all {
		if due, ok := x.due[nameOfTimer(&all[i])]; ok {
			all[i].Due = due
		}
	}
	slices.SortStableFunc(all, func(a, b postgres.ArmedTimer) int { return a.Due.Compare(b.Due) })
	return all, nil
}

// see notes when new timers are due by the worker's clock.
func (x *databaseTimers) see(ctx context.Context) error {
	all, err := x.list(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		t := &all[i]
		if _, known := x.due[nameOfTimer(t)]; !known {
			x.due[nameOfTimer(t)] = x.translate(t)
		}
	}
	return nil
}

// tolerance is how far the clocks of the database and of this process may differ.
const tolerance = time.Minute

// translate returns when a new timer is due by the worker's clock. The database has armed it a
// moment ago. If it is due when a deadline by the database's clock would be, it is one.
func (x *databaseTimers) translate(t *postgres.ArmedTimer) time.Time {
	machine := x.d.cfg.machine(t.Entity.Machine)
	for _, s := range machine.States() {
		for _, d := range machine.Deadlines(s) {
			if d.Event == t.Event && d.Clock == statemachine.DatabaseClock && t.Due.Sub(d.Due(time.Now())).Abs() < tolerance {
				return d.Due(x.now)
			}
		}
	}
	return t.Due
}

// read adds the timers of an entity that still hold.
func (x *databaseTimers) read(ctx context.Context, e versioning.Entity, into *Entity) error {
	all, err := x.list(ctx)
	for i := range all {
		if t := &all[i]; t.Entity == e && holds(into, t.Version) {
			into.Timers = append(into.Timers, Timer{t.Event, t.Due})
		}
	}
	return err
}

func (d *database) next(ctx context.Context) (time.Time, error) {
	all, err := d.timers.list(ctx)
	if err != nil || len(all) == 0 {
		return time.Time{}, err
	}
	return all[0].Due, nil
}

// fire makes the events of timers happen, with the records that the store itself would make.
func (d *database) fire(ctx context.Context, now time.Time) (fired versioning.Fired, err error) {
	x := d.timers
	x.now = now
	for {
		all, err := x.list(ctx)
		if err != nil || len(all) == 0 || all[0].Due.After(now) {
			return fired, err
		}
		r := versioning.TimerRecord(all[0].Entity, all[0].Timer)
		d.Prepare(r)
		result, err := d.apply(ctx, r, noCrash)
		if err != nil {
			return fired, err
		}
		x.fired[nameOfTimer(&all[0])] = true
		fired.Outcomes = append(fired.Outcomes, versioning.Settled{Record: r, Outcome: result.Outcomes[0]})
		fired.Released = append(fired.Released, result.Released...)
	}
}
