package versioningtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// These are what a Contents may have besides its methods; see there.
type (
	messageContents interface{ Messages() []Message }
	jobContents     interface{ Jobs() []Job }
	timerContents   interface{ Timers() []Timer }
)

// A firer is a store that fires timers.
type firer interface {
	FireTimers(ctx context.Context, limit int) (versioning.Fired, error)
}

// outputs are the records of checkOutputs. They cause something if they are applied, and
// only then.
var outputs = suiteCase{
	steps: []step{
		{"lamp/a lit | value=hello,there,job:first", "applied"},
		{"lamp/b dimmed | value=early,job:early", "applied"}, // parked, and then released
		{"lamp/a dimmed | value=lost,job:lost,at:1s,refuse", "rejected refused"},
		{"lamp/a dimmed | value=lost,bad", "rejected invalid_output"},
		{"lamp/a dimmed id=m | value=once,job:once,to:elsewhere", "applied"},
		{"lamp/a dimmed id=m | value=once,job:once,to:elsewhere", "duplicate"},
		{"lamp/b lit | value=b", "applied"},
		{"lamp/a dimmed + lamp/c dimmed | value=undone,job:undone,at:1s", "early no_entity"},
		{"lamp/a darkened + lamp/b darkened | value=both", "applied"},
		{"lamp/z dimmed | direct value=no,job:no", "early no_entity"},
		{"lamp/a relit id=n | direct value=yes,at:876000h", "applied"},
		{"lamp/a relit id=n | direct value=yes,at:876000h", "duplicate"},
		{"lamp/d lit + account/x opened + lamp/d dimmed + account/x nosuch | value=undone,job:undone", "rejected unknown_event"},
		{"lamp/d lit", "applied"},
	},
	rows:   []string{"lamp/a on@4", "lamp/b off@3", "lamp/d on@1"},
	parked: []string{"lamp/c no_entity 0"},
	dead:   []string{"lamp/a refused", "lamp/a invalid_output", "account/x unknown_event"},
}

// checkOutputs checks what steps cause, in one batch and in smaller ones, and that nothing
// is caused twice.
func checkOutputs(t *testing.T, open Open) {
	for _, size := range []int{len(outputs.steps), 1, 3} {
		t.Run(fmt.Sprintf("by %d", size), func(t *testing.T) {
			s := newScript(t, open, outputs)
			records := s.records()
			began := time.Now()
			for i := 0; i < len(records); i += size {
				s.batch(records[i:min(i+size, len(records))]...)
			}
			s.settled()
			s.caused(began)
			s.again()
			s.caused(began)
		})
	}
}

// caused checks what the steps of outputs have caused.
func (s *script) caused(began time.Time) {
	s.t.Helper()
	if all, ok := s.Contents.(messageContents); ok {
		var got []string
		for _, m := range all.Messages() {
			got = append(got, fmt.Sprintf("%s %s %d.%d at %d: %s %s %q %v", m.Entity, m.Event, m.Version, m.Index, m.Time.UnixMilli(), m.Topic, m.Key, m.Value, m.Headers))
		}
		s.same("messages", []string{
			`lamp/a lit 1.0 at 0: signals a "\"hello\"" []`,
			`lamp/a lit 1.1 at 0: signals a "\"there\"" []`,
			`lamp/a dimmed 2.0 at 4: signals a "\"once\"" []`,
			`lamp/a dimmed 2.1 at 4: elsewhere own "\x00\xff" [{h [118]}]`,
			`lamp/a darkened 3.0 at 8: signals a "\"both\"" []`,
			`lamp/a relit 4.0 at 10: signals a "\"yes\"" []`,
			`lamp/b lit 1.0 at 6: signals b "\"b\"" []`,
			`lamp/b dimmed 2.0 at 1: signals b "\"early\"" []`,
			`lamp/b darkened 3.0 at 8: signals b "\"both\"" []`,
		}, byEntity(got))
	}
	if all, ok := s.Contents.(jobContents); ok {
		var got []string
		for _, j := range all.Jobs() {
			got = append(got, fmt.Sprintf("%s %s %d: %v", j.Entity, j.Event, j.Version, j.Job))
		}
		s.same("jobs", []string{"lamp/a lit 1: first", "lamp/a dimmed 2: once", "lamp/b dimmed 2: early"}, byEntity(got))
	}
	if all, ok := s.Contents.(timerContents); ok {
		var got []string
		for _, timer := range all.Timers() {
			due := timer.Due.UTC().Format(time.DateOnly)
			if wait := timer.Due.Sub(began) - lifetime; -time.Minute < wait && wait < time.Minute {
				due = "tomorrow"
			}
			got = append(got, fmt.Sprintf("%s %s %d: %s", timer.Entity, timer.Event, timer.Version, due))
		}
		// The others are of states that their lamp has left: whether they were armed
		// depends on the batches.
		want := []string{"lamp/a burnt 4: 2069-12-07", "lamp/d burnt 1: tomorrow"}
		s.same("timers", want, slices.DeleteFunc(byEntity(got), func(text string) bool { return !slices.Contains(want, text) }))
		if n := len(got); n > len(want)+2 {
			s.t.Errorf("%d timers: %q", n, got)
		}
	}
}

// byEntity sorts texts that begin with an entity, and keeps the order of each entity.
func byEntity(texts []string) []string {
	slices.SortStableFunc(texts, func(a, b string) int {
		return slices.Compare([]byte(a[:len("lamp/a")]), []byte(b[:len("lamp/a")]))
	})
	return texts
}

// checkTimers checks which timers fire. Those of the records are due at once, because the
// records are old.
func checkTimers(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	store, ok := s.Store.(firer)
	if !ok {
		t.Skip("the store has no FireTimers")
	}
	for i, say := range []string{
		"lamp/a lit", // due tomorrow
		"lamp/b lit | value=at:1s", "lamp/c lit | value=at:2s", "lamp/c darkened",
		"lamp/d lit | value=at:3s", "lamp/d darkened", "lamp/d relit", // came back
		"lamp/e lit | value=at:4s", "lamp/e dimmed | value=at:876000h", // replaced
		"lamp/f lit", "lamp/f dimmed | value=at:5s", // replaced
		"lamp/g lit | value=at:6s",
		"lamp/h lit | value=at:7s", "lamp/h dimmed",
	} {
		r := s.parse(i, say)
		s.all = append(s.all, r)
		s.batch(r)
	}
	s.Delete(entity("lamp/g"))
	fire := func(want ...string) {
		t.Helper()
		var got []string
		for more := true; more; {
			fired, err := store.FireTimers(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range fired.Outcomes {
				got = append(got, fmt.Sprintf("%s %s", o.Record.Entity(0), verdict(o.Outcome)))
			}
			if more = fired.More; !more && time.Until(fired.Next) < lifetime-time.Hour {
				t.Errorf("the next timer is due in %v; want about %v", time.Until(fired.Next), lifetime)
			}
		}
		s.same("fired", want, sorted(got))
	}
	fire("lamp/b applied", "lamp/c ignored", "lamp/d ignored", "lamp/e ignored", "lamp/f applied", "lamp/g ignored", "lamp/h applied")
	fire()
	s.same("rows", []string{"lamp/b dead@2", "lamp/c off@2", "lamp/d on@3", "lamp/e on@2", "lamp/f dead@3", "", "lamp/h dead@3"},
		rowsOf(s, "lamp/b", "lamp/c", "lamp/d", "lamp/e", "lamp/f", "lamp/g", "lamp/h"))
	last := s.History(entity("lamp/b"))[1]
	if want := versioning.TimerTopic; last.Origin.Topic != want || last.MessageID != "pawl.timer/1/burnt" || last.Event != "burnt" {
		t.Errorf("the step of a timer: %+v", last)
	}
	if end := s.contents(); len(end.Parked) > 0 || len(end.DeadLetters) > 0 {
		t.Errorf("left behind: %v, %v", end.Parked, end.DeadLetters)
	}
}
