package pawltest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// compareAll lets cmp compare unexported fields too.
var compareAll = cmp.Exporter(func(reflect.Type) bool { return true })

// differ fails the test if want and got differ, with the story of the entity.
func (w *Worker) differ(entity, what string, want, got any) {
	w.t.Helper()
	if diff := cmp.Diff(want, got, compareAll, cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("%s of %s (-want, +got):\n%s%s", what, entity, diff, w.world.story(w.entityOf(entity)))
	}
}

// WantState fails the test if the entity is in another state. None means that there is no row.
func (w *Worker) WantState(entity string, state statemachine.State) {
	w.t.Helper()
	if got := w.Entity(entity); got.State != state {
		w.t.Errorf("%s is in state %q, want %q\n%s", entity, got.State, state, w.world.story(w.entityOf(entity)))
	}
}

// WantRow fails the test if the entity is in another state or has other columns. row is a value of
// the machine's row type, or [versioning.Columns] with some of the columns that changes have set:
// from a database these are text.
func (w *Worker) WantRow(entity string, state statemachine.State, row any) {
	w.t.Helper()
	w.WantState(entity, state)
	got := w.Entity(entity)
	columns, ok := row.(versioning.Columns)
	if !ok {
		if reflect.TypeOf(row) != reflect.TypeOf(got.Row) {
			w.t.Fatalf("pawltest: WantRow got a %T, but the row type of machine %q is %T", row, got.Machine, got.Row)
		}
		w.differ(entity, "the row", row, got.Row)
		return
	}
	have := make(versioning.Columns)
	for name := range columns {
		if value, ok := got.Columns[name]; ok {
			have[name] = value
		}
	}
	w.differ(entity, "the columns", columns, have)
}

// WantMessages fails the test if the entity's transitions have emitted other messages, in another
// order. Values are compared as JSON if both are.
func (w *Worker) WantMessages(entity string, want ...Message) {
	w.t.Helper()
	e := w.Entity(entity)
	wanted, err := w.world.readable(e.Machine, want)
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	got, err := w.world.readable(e.Machine, e.Messages)
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	w.differ(entity, "the messages", wanted, got)
}

// readable returns messages with values that can be compared.
func (w *world) readable(machine string, messages []Message) ([]Message, error) {
	encode := w.cfg.table(machine).Encode
	if encode == nil {
		encode = func(_ string, value any) ([]byte, error) { return json.Marshal(value) }
	}
	var all []Message
	for _, m := range messages {
		raw, ok := m.Value.([]byte)
		if !ok && m.Value != nil {
			var err error
			if raw, err = encode(m.Topic, m.Value); err != nil {
				return nil, fmt.Errorf("encode the wanted message to topic %q, a %T: %w", m.Topic, m.Value, err)
			}
		}
		var value any
		switch {
		case m.Value == nil:
			m.Value = nil
		case json.Unmarshal(raw, &value) == nil:
			m.Value = value
		default:
			m.Value = string(raw)
		}
		all = append(all, m)
	}
	return all, nil
}

// WantJobs fails the test if the entity's transitions have enqueued other jobs, in another order.
func (w *Worker) WantJobs(entity string, want ...any) {
	w.t.Helper()
	w.differ(entity, "the jobs", want, w.Entity(entity).Jobs)
}

// WantTimers fails the test if other timers are armed. The times count from now on, by the
// worker's clock: map[statemachine.Event]time.Duration{"payment.expired": 7 * 24 * time.Hour}.
func (w *Worker) WantTimers(entity string, want map[statemachine.Event]time.Duration) {
	w.t.Helper()
	got := make(map[statemachine.Event]time.Duration)
	for _, t := range w.Entity(entity).Timers {
		got[t.Event] = t.Due.Sub(w.world.now)
	}
	w.differ(entity, "the timers", want, got)
}

// WantParked fails the test if other records are parked for the entity. reasons are theirs, in the
// order in which they were parked; none means that nothing is parked.
func (w *Worker) WantParked(entity string, reasons ...versioning.Reason) {
	w.t.Helper()
	var got []versioning.Reason
	for _, p := range w.Entity(entity).Parked {
		got = append(got, p.Reason)
	}
	w.differ(entity, "the reasons of the parked records", reasons, got)
}

// WantDeadLetters fails the test if other records of the entity are dead letters. reasons are
// theirs, the oldest first; none means that there are no dead letters.
func (w *Worker) WantDeadLetters(entity string, reasons ...versioning.Reason) {
	w.t.Helper()
	var got []versioning.Reason
	for _, d := range w.Entity(entity).DeadLetters {
		got = append(got, d.Reason)
	}
	w.differ(entity, "the reasons of the dead letters", reasons, got)
}

// WantSame fails the test if entities have other states, rows, parked records or dead letters than
// those of another worker. A test that gives two workers the same records in different orders ends
// with it.
func (w *Worker) WantSame(other *Worker) {
	w.t.Helper()
	diff, err := w.world.diff(other.world)
	if err != nil {
		w.t.Fatalf("pawltest: %v", err)
	}
	if diff != "" {
		w.t.Errorf("the two workers have different rows (-one, +other):\n%sone:\n%sother:\n%s",
			diff, indent(w.world.everything(), "  "), "\n"+indent(other.world.everything(), "  "))
	}
}

// A stand is what two orders of delivery must agree on.
type stand struct {
	State       statemachine.State
	Row         any
	Columns     versioning.Columns
	Parked      []statemachine.Event
	DeadLetters []statemachine.Event
}

// diff returns how the entities of two worlds differ.
func (w *world) diff(other *world) (string, error) {
	one, err := w.stands()
	if err != nil {
		return "", err
	}
	two, err := other.stands()
	if err != nil {
		return "", err
	}
	return cmp.Diff(one, two, compareAll, cmpopts.EquateEmpty()), nil
}

func (w *world) stands() (map[string]stand, error) {
	names, err := w.back.entities(w.ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]stand, len(names))
	for _, e := range names {
		found, err := w.entity(e)
		if err != nil {
			return nil, err
		}
		s := stand{State: found.State, Row: found.Row, Columns: found.Columns}
		for _, p := range found.Parked {
			s.Parked = append(s.Parked, p.Event)
		}
		for _, d := range found.DeadLetters {
			s.DeadLetters = append(s.DeadLetters, d.Event)
		}
		all[w.nameOf(e)] = s
	}
	return all, nil
}
