package pawltest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// errCrash is how a store in memory dies.
var errCrash = errors.New("the worker died")

// A memory is a backend in memory.
type memory struct {
	*versioningtest.Memory

	rows map[string]*rowType // of the machines with functions
	now  time.Time
}

func newMemory(cfg *Config, rows map[string]*rowType, start time.Time) (m *memory, err error) {
	defer func() { // NewMemory panics
		if p := recover(); p != nil {
			var ok bool
			if err, ok = p.(error); !ok {
				panic(p)
			}
		}
	}()
	m = &memory{Memory: versioningtest.NewMemory(cfg.rules()...), rows: rows, now: start}
	m.SetClock(func() time.Time { return m.now })
	return m, nil
}

func (m *memory) apply(ctx context.Context, r *versioning.Record, crash crash) (result versioning.Result, err error) {
	switch crash {
	case noCrash:
	case crashBeforeCommit:
		m.Between(func(context.Context, *versioning.Plan) error { return errCrash })
		defer m.Between(nil)
	case crashAfterCommit:
		m.After(func(_ context.Context, settled versioning.Result) error {
			result = settled
			return errCrash
		})
		defer m.After(nil)
	}
	got, err := m.Apply(ctx, "", []*versioning.Record{r})
	if err == nil || !errors.Is(err, errCrash) {
		result = got
	}
	return result, err
}

func (m *memory) entity(_ context.Context, e versioning.Entity) (*Entity, error) {
	got := &Entity{Machine: e.Machine, Key: e.Key}
	if row, ok := m.Row(e); ok {
		got.State, got.Version, got.Columns = row.State, row.Version, row.Columns
	}
	for _, s := range m.History(e) {
		got.Steps = append(got.Steps, Step{Version: s.Version, Event: s.Event, From: s.From, To: s.To, by: numberOf(s.Origin)})
	}
	for _, out := range m.Messages() {
		if out.Entity == e {
			got.Messages = append(got.Messages, messageOf(&out.OutMessage, e.Key))
		}
	}
	for _, j := range m.Jobs() {
		if j.Entity == e {
			got.Jobs = append(got.Jobs, j.Job)
		}
	}
	for _, t := range m.Timers() {
		if t.Entity == e && holds(got, t.Version) {
			got.Timers = append(got.Timers, Timer{t.Event, t.Due})
		}
	}
	for _, p := range m.Parked() {
		if p.Entity == e {
			got.Parked = append(got.Parked, Parked{Delivery: numberOf(p.Origin), Reason: p.Reason})
		}
	}
	for _, d := range m.DeadLetters() {
		if d.Outcome.Entity == e {
			got.DeadLetters = append(got.DeadLetters, deadLetter(numberOf(d.Origin), &d.Outcome))
		}
	}
	return got, nil
}

// holds reports whether a timer that was armed at a version still holds.
func holds(e *Entity, armed int64) bool {
	return !slices.ContainsFunc(e.Steps, func(s Step) bool { return s.Version > armed && s.From != s.To })
}

func deadLetter(number int64, o *versioning.Outcome) DeadLetter {
	return DeadLetter{Delivery: number, Event: o.Event, Verdict: o.Verdict, Reason: o.Reason, Detail: o.Detail}
}

func (m *memory) columns(_ context.Context, e versioning.Entity) (rowValues, error) {
	row, _ := m.Row(e)
	return rowValues(row.Columns), nil
}

func (m *memory) fire(ctx context.Context, now time.Time) (all versioning.Fired, err error) {
	m.now = now
	for {
		fired, err := m.FireTimers(ctx, 0)
		if err != nil {
			return all, err
		}
		all.Outcomes = append(all.Outcomes, fired.Outcomes...)
		all.Released = append(all.Released, fired.Released...)
		if !fired.More {
			return all, nil
		}
	}
}

func (m *memory) next(context.Context) (time.Time, error) {
	if timers := m.Timers(); len(timers) > 0 {
		return timers[0].Due, nil
	}
	return time.Time{}, nil
}

func (m *memory) entities(context.Context) ([]versioning.Entity, error) {
	return slices.SortedFunc(maps.Keys(m.Rows()), compareEntities), nil
}

func compareEntities(a, b versioning.Entity) int {
	return cmp.Or(strings.Compare(a.Machine, b.Machine), strings.Compare(a.Key, b.Key))
}

// messageOf returns a message as tests compare it.
func messageOf(out *versioning.OutMessage, key string) Message {
	m := Message{Topic: out.Topic, Key: string(out.Key)}
	if m.Key == key {
		m.Key = ""
	}
	if out.Value != nil {
		m.Value = out.Value
	}
	for _, h := range out.Headers {
		if m.Headers == nil {
			m.Headers = make(map[string]string)
		}
		m.Headers[h.Key] = string(h.Value)
	}
	return m
}

// state returns the state of an entity.
func (m *memory) state(e versioning.Entity) statemachine.State {
	row, _ := m.Row(e)
	return row.State
}
