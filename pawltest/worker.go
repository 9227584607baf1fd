package pawltest

import (
	"testing"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A Worker does what a worker does with each record, at once: decode, fold, apply. A test gives
// it records and says what it wants them to have caused. If that is not so, the test fails and
// prints what has happened to the entity.
//
// Before each record, the worker also calls the functions that the record needs some more times:
// in a row, in another goroutine, and, if the test is a *testing.T, while the clock shows another
// year. If a function does something else then, or changes what it must not change, the test
// fails: the function is not pure. [Config].Impure turns that off.
//
// An entity is named by its key or, if there are several tables, by "machine/key". A Worker
// belongs to one goroutine.
type Worker struct {
	t     TB
	world *world
	crash crash // of the next record
}

// New returns a worker with empty tables in memory, or with those of Config.Pool.
func New(t TB, cfg Config) *Worker {
	t.Helper()
	w, err := newWorld(t.Context(), benchOf(t), &cfg)
	if err != nil {
		t.Fatalf("pawltest: %v", err)
	}
	return &Worker{t: t, world: w}
}

// Of returns a worker in memory for one machine. It is short for New.
func Of(t TB, machine *statemachine.Machine) *Worker {
	t.Helper()
	return New(t, Config{Tables: []postgres.Table{{Machine: machine}}})
}

// benchOf returns the *testing.T of a TB, or nil.
func benchOf(t TB) *testing.T {
	switch t := t.(type) {
	case *testing.T:
		return t
	case interface{ Unwrap() *testing.T }:
		return t.Unwrap()
	}
	return nil
}

// entityOf returns the entity with a name, or fails the test.
func (w *Worker) entityOf(name string) versioning.Entity {
	w.t.Helper()
	e, err := w.world.entityOf(name)
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	return e
}

// Give delivers a record that asks for one event of one entity. data is what Decode would put
// into Change.Data; nil if the event has none. Each call is another message.
func (w *Worker) Give(entity string, event statemachine.Event, data any) *Delivery {
	w.t.Helper()
	return w.Change(change(w.entityOf(entity), event, data))
}

// Change delivers a record that asks for changes. A change without a message ID gets a new one.
func (w *Worker) Change(changes ...versioning.Change) *Delivery {
	w.t.Helper()
	m := &message{changes: append([]versioning.Change(nil), changes...)}
	for i := range m.changes {
		if m.changes[i].MessageID == "" {
			m.changes[i].MessageID = nextID(int64(len(w.world.sent) + 1))
		}
	}
	return w.send(m)
}

// Send delivers a record of a topic. Config.Decode says what it asks for. If Decode is in trouble (see
// [versioning.Trouble]), the test ends.
func (w *Worker) Send(r Record) *Delivery {
	w.t.Helper()
	return w.send(&message{raw: &r})
}

func (w *Worker) send(m *message) *Delivery {
	w.t.Helper()
	s, f, err := w.world.send(m, w.takeCrash())
	d := &Delivery{w, s}
	d.check(f, err)
	return d
}

// CrashBeforeCommit makes the worker die while it applies the next record: the functions have
// run, and nothing is written. Then it starts again, and gets the record once more.
func (w *Worker) CrashBeforeCommit() { w.crash = crashBeforeCommit }

// CrashAfterCommit makes the worker die after it has applied the next record and before it has
// committed the offset. Then it starts again, and gets the record once more.
func (w *Worker) CrashAfterCommit() { w.crash = crashAfterCommit }

func (w *Worker) takeCrash() crash {
	c := w.crash
	w.crash = noCrash
	return c
}

// Now returns what the worker's clock shows. It stands still, except for Advance and NextTimer.
// Records get it as their timestamp.
func (w *Worker) Now() time.Time { return w.world.now }

// Advance moves the clock and fires the timers that are due by then, in their order. It returns
// how many of them still held. With a database, the database's own clock goes on as always, and
// the worker fires by its own what Advance makes due.
func (w *Worker) Advance(d time.Duration) (fired int) {
	w.t.Helper()
	fired, err := w.world.advance(w.world.now.Add(d))
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	return fired
}

// NextTimer moves the clock to when the next timer is due, and fires it. The test fails if there
// is none.
func (w *Worker) NextTimer() {
	w.t.Helper()
	due, err := w.world.back.next(w.world.ctx)
	switch {
	case err != nil:
		w.t.Fatalf("pawltest: look for timers: %v", err)
	case due.IsZero():
		w.t.Fatalf("pawltest: no timer is armed")
	case due.Before(w.world.now):
		due = w.world.now
	}
	w.Advance(due.Sub(w.world.now))
}

// Entity returns everything about an entity. It never returns nil: an entity without a row is in
// state None.
func (w *Worker) Entity(entity string) *Entity {
	w.t.Helper()
	found, err := w.world.entity(w.entityOf(entity))
	if err != nil {
		w.t.Fatalf("pawltest: look at %s: %v", entity, err)
	}
	return found
}

// Hold fails the test if an invariant does not hold.
func (w *Worker) Hold(invariants ...Invariant) {
	w.t.Helper()
	f, err := w.world.hold(invariants)
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	if f != nil {
		w.t.Errorf("%s\n%s", f.text, w.world.everything())
	}
}
