package postgres

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/versioning"
)

// A memory forgets the oldest entities, and keeps nothing alive but its keys.
func TestRecent(t *testing.T) {
	t.Parallel()
	var r recent
	for i := range 2*generation + 1 {
		r.put(fmt.Sprint(i), &memo{version: int64(i)})
	}
	for key, want := range map[string]bool{"0": false, fmt.Sprint(generation): true, fmt.Sprint(2 * generation): true} {
		if got := r.of(key) != nil; got != want {
			t.Errorf("knows %s: %t", key, got)
		}
	}
	if n := len(r.last) + len(r.older); n > 2*generation {
		t.Errorf("knows %d entities", n)
	}

	r.forget()
	many := make([]uint32, maxRemembered)
	for i := range 3 * generationMessages / maxRemembered {
		r.put(fmt.Sprint(i), &memo{messages: many})
		r.put(fmt.Sprint(i), &memo{messages: many}) // its messages count once
	}
	n := 0
	for _, memos := range []map[string]*memo{r.last, r.older} {
		for _, m := range memos {
			n += len(m.messages)
		}
	}
	if n < generationMessages || n > 2*generationMessages {
		t.Errorf("knows %d messages", n)
	}

	large := "key" + string(make([]byte, 1000))
	for range 2 {
		r.put(large[:3], &memo{version: 1})
	}
	for key := range r.last {
		if key == "key" && unsafe.StringData(key) == unsafe.StringData(large) {
			t.Error("the memory keeps what the key is a part of")
		}
	}
	r.put("key", nil)
	if r.of("key") != nil {
		t.Error("did not forget the key")
	}
}

// The messages of an entity stay sorted, so that each of them is found.
func TestMerged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOf(rapid.Uint32Range(0, 50))
		before, more := all.Draw(t, "before"), all.Draw(t, "more")
		slices.Sort(before)
		want := slices.Sorted(slices.Values(slices.Concat(before, more)))
		if got := merged(before, more); !slices.Equal(got, want) {
			t.Errorf("merged = %v, want %v", got, want)
		}
	})
}

// The more often trust is lost, the longer it takes until it is asked for again. A few failures
// cost little, and so do many at once.
func TestTrust(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every    int // how many transactions there are for one that fails
		beside   int // others that fail with it
		min, max int // of 10,000 transactions, how many rely on it
	}{
		"never wrong":              {every: 10_001, min: 10_000, max: 10_000},
		"always wrong":             {every: 1, min: 2, max: 100},
		"seldom wrong":             {every: 100, min: 9_000, max: 10_000},
		"seldom wrong, many times": {every: 100, beside: 8, min: 9_000, max: 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var trust trust
			used := 0
			for range 10_000 {
				losses, ok := trust.ask()
				if !ok {
					continue
				}
				if used++; used%c.every != 0 {
					trust.gain()
					continue
				}
				for range 1 + c.beside {
					trust.lose(losses)
				}
			}
			if used < c.min || used > c.max {
				t.Errorf("%d of 10,000 transactions relied on it, want %d to %d", used, c.min, c.max)
			}
		})
	}
}

// What is remembered on another server is not recalled.
func TestMemoryOfAnotherServer(t *testing.T) {
	t.Parallel()
	m, table := newMemory(), &table{}
	m.server = "one"
	table.recent.put("a", &memo{version: 1})
	if m.of(table, "a", "one") == nil || m.of(table, "a", "two") != nil {
		t.Error("the memory does not know its server")
	}
	if m.serverFor("") != "one" || m.serverFor("one") != "one" || m.serverFor("two") != "" {
		t.Error("the memory is for another server")
	}
}

// A plan may rest on recalled rows only if it moves all entities and makes all records.
func TestHolds(t *testing.T) {
	t.Parallel()
	view := versioning.NewView(1)
	view.Add(versioning.Entity{Machine: "order", Key: "a"})
	r := &reader{view: view}
	records, moves := make([]*versioning.Record, 1), make([]versioning.Move, 1)
	for _, c := range []struct {
		verdict versioning.Verdict
		moves   []versioning.Move
		want    bool
	}{
		{versioning.Applied, moves, true},
		{versioning.Duplicate, moves, true}, // of another record of the batch
		{versioning.Duplicate, nil, false},
		{versioning.Early, moves, false},
		{versioning.Rejected, moves, false},
		{versioning.Diverged, moves, false},
	} {
		plan := &versioning.Plan{Outcomes: []versioning.Outcome{{Verdict: c.verdict}}, Moves: c.moves}
		if got := r.holds(plan, records); got != c.want {
			t.Errorf("%v and %d moves: %t", c.verdict, len(c.moves), got)
		}
	}
	if r.holds(&versioning.Plan{Moves: moves}, records) {
		t.Error("a plan holds that has stopped before a record")
	}
}
