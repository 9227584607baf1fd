package versioningtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/versioning"
)

// directCases are about changes of callers who wait for the outcome, alone and together with
// records of topics.
var directCases = []suiteCase{
	{
		name: "refused changes of callers leave nothing",
		steps: []step{
			{"order/z captured | direct", "early no_entity"},
			{"order/a plced | direct", "rejected unknown_event"},
			{"nosuch/a placed | direct", "rejected unknown_machine"},
			{"order/ placed | direct", "rejected invalid_key"},
			{"order/a placed id=1 | direct", "applied"},
			{"order/a placed id=1 | direct", "duplicate"},
			{"order/a placed id=2 | direct", "rejected illegal"},
			{"order/a captured id=1 | direct", "diverged message_taken"},
			{"account/a opened | direct", "applied"},
			{"account/a debited | direct value=refuse", "rejected refused"},
			{"account/a debited | direct value=panic", "rejected refused"},
		},
		rows: []string{"order/a pending@1", "account/a active@1"},
	},
	{
		name: "the changes of a caller are made together or not at all",
		steps: []step{
			{"order/a placed id=1 + order/z captured id=1 | direct", "early no_entity"},
			{"order/b placed id=2 + account/x opened id=2 | direct", "applied"},
			{"order/b captured id=3 + account/x debited id=3 + account/x debited id=3 | direct value=once", "rejected refused"},
			{"order/b captured id=4 + account/x debited id=4 + account/x frozen id=4 | direct", "applied"},
		},
		rows:     []string{"order/b paid@2", "account/x locked@3"},
		replayed: []string{"early no_entity", "duplicate", "rejected illegal", "duplicate"},
	},
	{
		name: "callers release parked records",
		steps: []step{
			{"order/a shipped", "applied"},
			{"order/a captured + order/b captured", "applied"},
			{"order/a placed id=1 | direct", "applied"},
			{"order/a shipped id=2 | direct", "early not_yet"},
			{"order/b placed id=3 | direct", "applied"},
			{"order/a delivered id=4 | direct", "applied"},
		},
		rows:     []string{"order/a delivered@4", "order/b paid@2"},
		replayed: []string{"duplicate", "duplicate", "duplicate", "rejected illegal", "duplicate", "duplicate"},
	},
	{
		name: "a message of a topic and the change of a caller are one",
		steps: []step{
			{"order/a placed id=1", "applied"},
			{"order/a placed id=1 | direct", "duplicate"},
			{"order/a captured id=2 | direct", "applied"},
			{"order/a captured id=2", "duplicate"},
			{"order/a shipped id=2", "diverged message_taken"},
			{"order/a shipped id=2 | direct", "diverged message_taken"},
		},
		rows: []string{"order/a paid@2"},
		dead: []string{"order/a message_taken"},
	},
	{
		name: "two callers who expect one version",
		steps: []step{
			{"order/a placed at=0 note=one | direct", "applied"},
			{"order/a placed at=0 note=one | direct", "duplicate"},
			{"order/a placed at=0 note=two | direct", "diverged version_taken"},
			{"order/a cancelled at=0 | direct", "diverged version_taken"},
			{"order/a captured at=2 | direct", "early version_ahead"},
			{"order/a captured at=1 | direct", "applied"},
		},
		rows:     []string{"order/a paid@2"},
		replayed: []string{"duplicate", "duplicate", "diverged version_taken", "diverged version_taken", "rejected illegal", "duplicate"},
	},
	{
		name: "early changes of callers take no place among the parked",
		steps: []step{
			{"queue/a added | direct", "early no_entity"},
			{"queue/a added", "early no_entity"},
			{"queue/a added | direct", "early no_entity"},
			{"queue/a added", "early no_entity"},
			{"queue/a added | direct", "early no_entity"},
			{"queue/a added", "rejected too_many_parked"},
		},
		parked: []string{"queue/a no_entity 0", "queue/a no_entity 0"},
		dead:   []string{"queue/a too_many_parked"},
	},
}

// A doer is a store with changes for callers who wait.
type doer interface {
	Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error)
}

// A deliverer is a store that keeps the changes of callers.
type deliverer interface {
	Deliver(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error)
}

// checkDeliver checks Deliver: that it keeps what can't be made, once, and that what is parked
// is released.
func checkDeliver(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	store, ok := s.Store.(deliverer)
	if !ok {
		t.Skip("the store has no Deliver")
	}
	var kept []Parked
	for range 2 {
		for _, step := range []step{
			{"order/a captured id=1", "early no_entity"},
			{"order/a captured id=1 + order/b placed id=1", "early no_entity"}, // another one: it asks for more
			{"order/a nosuch id=1", "rejected unknown_event"},
			{"order/a nosuch id=2", "rejected unknown_event"},
			{"order/a captured at=1", "early version_ahead"},
		} {
			var changes []versioning.Change
			for change := range strings.SplitSeq(step.say, " + ") {
				changes = append(changes, parseChange(change))
			}
			o, err := store.Deliver(t.Context(), changes...)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(o); got != step.want {
				t.Errorf("%s: %s, want %s", step.say, got, step.want)
			}
		}
		kept = s.Parked()
		if n := len(s.DeadLetters()); n != 2 || len(kept) != 3 || kept[0].Origin.TopicID != versioning.DeliveryTopicID {
			t.Errorf("parked %v, and %d dead letters; want 3 and 2", kept, n)
		}
	}
	s.apply([]*versioning.Record{s.parse(0, "order/a placed")})
	o, err := store.Deliver(t.Context(), parseChange("order/a captured id=1"))
	if err != nil || o.Verdict != versioning.Duplicate {
		t.Errorf("a change that was parked and released: %v, %v", o, err)
	}
	s.same("rows", []string{"order/a paid@2", "order/b pending@1"}, rowsOf(s, "order/a", "order/b"))
}

// checkDo checks Do: its verdicts, and that calls at the same time do not affect each other.
func checkDo(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{})
	store, ok := s.Store.(doer)
	if !ok {
		t.Skip("the store has no Do")
	}
	const callers = 20
	say := func(i int, event string) versioning.Change {
		return parseChange(fmt.Sprintf("account/a %s id=%d", event, i))
	}
	s.apply([]*versioning.Record{s.parse(0, "account/a frozen id=parked")})
	var mu sync.Mutex
	got := make(map[string]int)
	do := func(changes ...versioning.Change) {
		o, err := store.Do(t.Context(), changes...)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		got[verdict(o)]++
	}
	want := func(want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("verdicts (-want, +got):\n%s", diff)
		}
		clear(got)
	}
	do(say(0, "thawed"))
	want(map[string]int{"early no_entity": 1})
	do(say(1, "opened"))
	do(say(2, "thawed"))
	want(map[string]int{"applied": 2})

	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			c := say(100+i, "debited")
			c.Data = debited{}
			do(c)
			do(c)
			c = say(200+i, "debited")
			c.Data = debited{"refuse"}
			do(c, parseChange("order/a placed"))
			do()
		})
	}
	all.Wait()
	want(map[string]int{"applied": callers, "duplicate": callers, "rejected refused": callers, "ignored": callers})
	end := s.contents()
	s.same("rows", []string{"", "account/a active@23"}, rowsOf(s, "order/a", "account/a"))
	if len(end.Parked) > 0 || len(end.DeadLetters) > 0 {
		t.Errorf("left behind: %v, %v", end.Parked, end.DeadLetters)
	}
	steps := s.History(entity("account/a"))
	by := steps[len(steps)-1].Origin
	if len(steps) != callers+3 || by.Topic != "" || by.TopicID != [16]byte{} {
		t.Errorf("%d steps, the last one by %v; want %d, by a direct change", len(steps), by, callers+3)
	}
}

// rowsOf returns the rows of entities as text, "" for those without one.
func rowsOf(s *script, names ...string) (rows []string) {
	for _, name := range names {
		text := ""
		if row, ok := s.Row(entity(name)); ok {
			text = fmt.Sprintf("%s %s@%d", name, row.State, row.Version)
		}
		rows = append(rows, text)
	}
	return rows
}
