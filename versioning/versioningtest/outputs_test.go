package versioningtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A parcel is sent, and reminds of itself until it is fetched or goes back.
type parcelRow struct {
	Reminders int64 `db:"reminders"`
}

func announce(f *statemachine.Firing, _ *parcelRow, _ struct{}) error {
	f.Emit("parcels", string(f.Event))
	f.Emit("parcels", f.Version)
	return nil
}

func remind(f *statemachine.Firing, row *parcelRow, _ struct{}) error {
	if row.Reminders++; row.Reminders > 2 {
		return errors.New("no more reminders")
	}
	f.Emit("parcels", "reminder")
	f.Enqueue(row.Reminders)
	f.At("reminded", f.Time.Add(2*time.Hour))
	return nil
}

var parcel = versioning.Rules{CheckJob: func(any) error { return nil }, Machine: statemachine.MustCompile(statemachine.Definition{
	Name: "parcel", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "arrived", To: "here", Do: statemachine.Do(announce)},
		{Event: "reminded", From: statemachine.In("here"), To: "here", After: time.Hour, Do: statemachine.Do(remind)},
		{Event: "lent", From: statemachine.In("here"), To: "lent"},
		{Event: "arrived", From: statemachine.In("lent"), To: "here", Do: statemachine.Do(announce)},
		{Event: "returned", From: statemachine.In("here"), To: "back", After: 24 * time.Hour, Do: statemachine.Do(announce)},
		{Event: "fetched", From: statemachine.In("here", "lent"), To: "fetched"},
	},
	Terminal: statemachine.In("back", "fetched"),
})}

// A setting is a store of parcels and its clock.
type setting struct {
	*versioningtest.Memory
	t    *testing.T
	at   time.Time
	next int64
}

func newSetting(t *testing.T) *setting {
	t.Helper()
	s := &setting{Memory: versioningtest.NewMemory(parcel), t: t, at: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.SetClock(func() time.Time { return s.at })
	return s
}

// deliver applies events of one parcel in one batch, and checks the verdicts.
func (s *setting) deliver(key string, events []statemachine.Event, want ...string) {
	s.t.Helper()
	var records []*versioning.Record
	for _, e := range events {
		r := &versioning.Record{Origin: versioning.Origin{Offset: s.next}, Timestamp: s.at, Changes: []versioning.Change{{Key: key, Event: e}}}
		s.next++
		s.Prepare(r)
		records = append(records, r)
	}
	result, err := s.Apply(s.t.Context(), "", records)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, o := range result.Outcomes {
		got = append(got, o.Verdict.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%v (-want, +got):\n%s", events, diff)
	}
}

// fire fires timers, and checks what they were.
func (s *setting) fire(limit int, want ...string) versioning.Fired {
	s.t.Helper()
	fired, err := s.FireTimers(s.t.Context(), limit)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, f := range fired.Outcomes {
		got = append(got, fmt.Sprintf("%s %s: %v", f.Record.Changes[0].Key, f.Record.Changes[0].Event, f.Outcome.Verdict))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("fired at %v (-want, +got):\n%s", s.at, diff)
	}
	return fired
}

// messages returns the messages as text.
func (s *setting) messages() (texts []string) {
	for _, m := range s.Messages() {
		texts = append(texts, fmt.Sprintf("%s %d.%d %s=%s", m.Entity.Key, m.Version, m.Index, m.Key, m.Value))
	}
	return texts
}

// timers returns the timers as text.
func (s *setting) timers() (texts []string) {
	for _, timer := range s.Timers() {
		texts = append(texts, fmt.Sprintf("%s %s %d in %v", timer.Entity.Key, timer.Event, timer.Version, timer.Due.Sub(s.at)))
	}
	return texts
}

func (s *setting) same(what string, got []string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want, +got):\n%s", what, diff)
	}
}

type events = []statemachine.Event

// What steps cause is kept with them, and only theirs.
func TestOutputs(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"lent", "arrived", "reminded"}, "applied", "applied", "early") // parked, released, parked
	s.same("messages", s.messages(), `a 1.0 a="arrived"`, `a 1.1 a=1`)
	s.deliver("b", events{"arrived", "reminded", "fetched", "reminded"}, "applied", "applied", "applied", "rejected")
	s.same("messages", s.messages(), `a 1.0 a="arrived"`, `a 1.1 a=1`, `b 1.0 b="arrived"`, `b 1.1 b=1`, `b 2.0 b="reminder"`)
	want := []versioningtest.Job{{Entity: versioning.Entity{Machine: "parcel", Key: "b"}, Event: "reminded", Version: 2, Job: int64(1)}}
	if diff := cmp.Diff(want, s.Jobs()); diff != "" {
		t.Errorf("jobs (-want, +got):\n%s", diff)
	}
	s.same("timers", s.timers()) // neither is in a state with timers any more
}

// Timers fire in order when they are due, and not if the parcel has left the state or the
// timer was replaced.
func TestFireTimers(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"arrived"}, "applied")
	s.at = s.at.Add(time.Minute)
	s.deliver("b", events{"arrived", "reminded"}, "applied", "applied") // replaced in the same batch
	s.deliver("c", events{"arrived"}, "applied")
	s.same("timers", s.timers(),
		"a reminded 1 in 59m0s", "c reminded 1 in 1h0m0s", "b reminded 2 in 2h0m0s",
		"a returned 1 in 23h59m0s", "b returned 1 in 24h0m0s", "c returned 1 in 24h0m0s")
	s.deliver("c", events{"lent", "arrived"}, "applied", "applied")
	if fired := s.fire(10); fired.More || !fired.Next.Equal(s.at.Add(59*time.Minute)) {
		t.Errorf("%+v", fired)
	}

	s.at = s.at.Add(59 * time.Minute)
	s.fire(10, "a reminded: applied") // sets another timer for the same event
	s.at = s.at.Add(time.Minute)
	if fired := s.fire(1, "c reminded: ignored"); !fired.More {
		t.Errorf("%+v: want more", fired)
	}
	if fired := s.fire(1, "c reminded: applied"); fired.More || !fired.Next.Equal(s.at.Add(time.Hour)) { // b's
		t.Errorf("%+v", fired)
	}
	s.at = s.at.Add(48 * time.Hour)
	fired := s.fire(3, "b reminded: applied", "a reminded: applied", "c reminded: applied")
	if !fired.More { // they have set further ones, which are due too
		t.Errorf("%+v: want more", fired)
	}
	s.fire(100,
		"b reminded: rejected", "a reminded: rejected", "c reminded: rejected",
		"a returned: applied", "b returned: applied", "c returned: ignored", "c returned: applied")
	s.same("timers", s.timers())
}

// A timer that was replaced while the entity stayed in its state no longer holds.
func TestReplacedTimer(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"arrived"}, "applied")
	s.deliver("a", events{"reminded"}, "applied")
	s.at = s.at.Add(time.Hour)
	s.fire(10, "a reminded: ignored")
	s.at = s.at.Add(time.Hour)
	s.fire(10, "a reminded: applied")
}

// Another writer takes the entity out of its state.
func TestTimerAfterForeignWrite(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"arrived"}, "applied")
	s.Update(versioning.Entity{Machine: "parcel", Key: "a"}, func(row *versioningtest.Row) { row.State, row.Version = "lent", 2 })
	s.at = s.at.Add(time.Hour)
	s.fire(10, "a reminded: ignored")
}

// Outputs are part of the database: they are written with the steps or not at all, and a
// backup has them.
func TestOutputsAreRestored(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"arrived"}, "applied")
	backup := s.Backup()
	s.deliver("a", events{"reminded"}, "applied")
	s.deliver("b", events{"arrived"}, "applied")
	s.Restore(backup)
	s.same("messages", s.messages(), `a 1.0 a="arrived"`, `a 1.1 a=1`)
	s.same("timers", s.timers(), "a reminded 1 in 1h0m0s", "a returned 1 in 24h0m0s")
	if jobs := s.Jobs(); len(jobs) > 0 {
		t.Errorf("jobs: %v", jobs)
	}
	s.at = s.at.Add(time.Hour)
	s.fire(10, "a reminded: applied") // it is not replaced any more

	trouble := errors.New("no connection")
	s.Restore(backup)
	s.Between(func(context.Context, *versioning.Plan) error { return trouble })
	if _, err := s.FireTimers(t.Context(), 10); !errors.Is(err, trouble) {
		t.Errorf("FireTimers = %v", err)
	}
	s.Between(nil)
	s.fire(10, "a reminded: applied")
}

// What was parked is released when a timer moves its entity.
func TestFireTimersReleases(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	backed := versioning.Record{Origin: versioning.Origin{Offset: 100}, Changes: []versioning.Change{{Key: "a", Event: "arrived", Expected: versioning.At(2)}}}
	s.deliver("a", events{"arrived"}, "applied")
	s.Prepare(&backed)
	if _, err := s.Apply(t.Context(), "", []*versioning.Record{&backed}); err != nil || len(s.Parked()) != 1 {
		t.Fatal(err, s.Parked())
	}
	s.at = s.at.Add(time.Hour)
	if fired := s.fire(0, "a reminded: applied"); len(fired.Released) != 1 || fired.Released[0].Outcome.Verdict != versioning.Rejected {
		t.Errorf("released: %+v", fired.Released)
	}
}

// Two workers fire the same timers at once.
func TestFireTimersTwice(t *testing.T) {
	t.Parallel()
	s := newSetting(t)
	s.deliver("a", events{"arrived"}, "applied")
	s.deliver("b", events{"arrived", "fetched"}, "applied", "applied")
	s.at = s.at.Add(time.Hour)
	s.Between(func(context.Context, *versioning.Plan) error {
		s.Between(nil)
		s.fire(10, "a reminded: applied")
		return nil
	})
	if fired := s.fire(10); fired.More {
		t.Errorf("%+v", fired)
	}
}

// What transitions cause is in the store. A test sets the clock to let timers fire.
func ExampleMemory_FireTimers() {
	now := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	store := versioningtest.NewMemory(parcel)
	store.SetClock(func() time.Time { return now })
	apply(store, asked(0, "p1", "arrived"))
	for _, t := range store.Timers() {
		fmt.Println("armed:", t.Entity, t.Event, t.Due.Format(time.Kitchen))
	}

	now = now.Add(time.Hour)
	counts, err := store.CountTimers(context.Background())
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(counts.Pending, "pending,", counts.Overdue, "due at", counts.Oldest.Format(time.Kitchen))
	fired, err := store.FireTimers(context.Background(), 100)
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range fired.Outcomes {
		fmt.Println("fired:", f.Outcome.Event, f.Outcome.Verdict)
	}
	for _, m := range store.Messages() {
		fmt.Printf("message %d of version %d: %s\n", m.Index, m.Version, m.Value)
	}
	for _, j := range store.Jobs() {
		fmt.Println("job:", j.Entity, j.Job)
	}
	// Output:
	// payments/0@0 arrived applied
	// armed: parcel/p1 reminded 1:00PM
	// armed: parcel/p1 returned 12:00PM
	// 1 pending, 1 due at 1:00PM
	// fired: reminded applied
	// message 0 of version 1: "arrived"
	// message 1 of version 1: 1
	// message 0 of version 2: "reminder"
	// job: parcel/p1 1
}
