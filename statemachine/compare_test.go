package statemachine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
)

// parcel returns a definition that the tests below edit.
func parcel() statemachine.Definition {
	return statemachine.Definition{
		Name: "parcel", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "packed", To: "ready"},
			{Event: "sent", From: statemachine.In("ready"), To: "moving"},
			{Event: "held", From: statemachine.In("moving"), To: "waiting"},
			{Event: "sent", From: statemachine.In("waiting"), To: "moving"},
			{Event: "arrived", From: statemachine.In("moving"), To: "there"},
		},
		Terminal: statemachine.In("there"),
	}
}

func compare(t testing.TB, before, after statemachine.Definition) statemachine.Comparison {
	t.Helper()
	c, err := statemachine.Compare(statemachine.MustCompile(before).Outline(), statemachine.MustCompile(after).Outline())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompare(t *testing.T) {
	t.Parallel()
	always := func(struct{}, struct{}) bool { return true }
	nothing := func(*statemachine.Firing, *struct{}, struct{}) error { return nil }
	tests := []struct {
		name string
		edit func(*statemachine.Definition)
		want []string // effect, state, event
	}{
		{"nothing", func(*statemachine.Definition) {}, nil},
		{"another order of transitions", func(d *statemachine.Definition) { slices.Reverse(d.Transitions) }, nil},
		{"a state and an event are new", func(d *statemachine.Definition) {
			d.Transitions = append(d.Transitions, statemachine.Transition{Event: "lost", From: statemachine.In("moving"), To: "gone"})
			d.Terminal = append(d.Terminal, "gone")
		}, []string{"harmless  lost", "harmless gone "}},
		{"a state is renamed without a migration", rename, []string{"stranding waiting ", "changed moving held", "harmless paused "}},
		{"a state is renamed with a migration", func(d *statemachine.Definition) {
			rename(d)
			d.Migrations = []statemachine.Migration{{From: statemachine.In("waiting"), To: "paused"}}
		}, []string{"changed moving held", "changed waiting ", "harmless paused "}},
		{
			"an event is gone", func(d *statemachine.Definition) { d.Transitions[1].Event = "shipped" },
			[]string{"changed ready sent", "harmless  shipped"},
		},
		{"an event is gone everywhere", func(d *statemachine.Definition) {
			d.Transitions[1].Event, d.Transitions[3].Event = "shipped", "shipped"
		}, []string{"changed  sent", "harmless  shipped"}},
		{"an event is legal in one more state", func(d *statemachine.Definition) {
			d.Transitions[4].From = append(d.Transitions[4].From, "waiting")
		}, []string{"harmless waiting arrived"}},
		{
			"a target changes", func(d *statemachine.Definition) { d.Transitions[2].To, d.Transitions[0].To = "ready", "waiting" },
			[]string{"changed  packed", "changed moving held"},
		},
		{"a state becomes terminal", func(d *statemachine.Definition) {
			d.Transitions = slices.Delete(d.Transitions, 3, 4)
			d.Terminal = append(d.Terminal, "waiting")
		}, []string{"changed waiting ", "changed waiting sent"}},
		{"a terminal state is left", func(d *statemachine.Definition) {
			d.Transitions = append(d.Transitions, statemachine.Transition{Event: "closed", From: statemachine.In("there"), To: "done"})
			d.Terminal = statemachine.In("done")
		}, []string{"changed there ", "harmless  closed", "harmless done "}},
		{"a branch is new", func(d *statemachine.Definition) {
			d.Transitions = slices.Insert(d.Transitions, 4, statemachine.Transition{
				Event: "arrived", From: statemachine.In("moving"), To: "waiting", When: statemachine.When("too early", always),
			})
		}, []string{"changed moving arrived"}},
		{"an action is new", func(d *statemachine.Definition) { d.Transitions[0].Do = statemachine.Do(nothing) }, []string{"changed  packed"}},
		{"a deadline is new", func(d *statemachine.Definition) { d.Transitions[4].After = time.Hour }, []string{"changed moving arrived"}},
		{"the functions have another revision", func(d *statemachine.Definition) { d.Revision = "b" }, []string{"changed  "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			after := parcel()
			after.Version = 2
			tt.edit(&after)
			c := compare(t, parcel(), after)
			var got []string
			for _, change := range c.Changes {
				got = append(got, fmt.Sprintf("%v %s %s", change.Effect, change.State, change.Event))
				if !strings.Contains(c.String(), change.Detail) {
					t.Errorf("%q is not in %q", change.Detail, c.String())
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("changes %q; want %q\n%v", got, tt.want, c)
			}
		})
	}
}

func rename(d *statemachine.Definition) {
	d.Transitions[2].To = "paused"
	d.Transitions[3].From = statemachine.In("paused")
}

func TestCompareDeadlines(t *testing.T) {
	t.Parallel()
	with := func(after time.Duration, clock statemachine.Clock) statemachine.Definition {
		d := parcel()
		d.Transitions[4].After, d.Transitions[4].Clock = after, clock
		return d
	}
	for _, after := range []statemachine.Definition{parcel(), with(2*time.Hour, statemachine.DatabaseClock), with(time.Hour, statemachine.RecordClock)} {
		after.Version = 2
		if c := compare(t, with(time.Hour, statemachine.DatabaseClock), after); len(c.Changes) != 1 || c.Changes[0].Effect != statemachine.Changed {
			t.Errorf("%v", c)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	after := parcel()
	after.Revision = "b"
	if c := compare(t, parcel(), after); len(c.Changes) != 2 || !strings.Contains(c.String(), "the version is still 1; increase it") {
		t.Errorf("%v", c)
	}
	after.Name = "letter"
	if _, err := statemachine.Compare(statemachine.MustCompile(parcel()).Outline(), statemachine.MustCompile(after).Outline()); !errors.Is(err, statemachine.ErrOtherMachine) {
		t.Errorf("Compare: %v", err)
	}
}

// TestComparePlan checks that a version which drops a migration of the one before it strands
// what was not migrated.
func TestCompareDroppedMigration(t *testing.T) {
	t.Parallel()
	second, third := parcel(), parcel()
	rename(&second)
	rename(&third)
	second.Version, third.Version = 2, 3
	second.Migrations = []statemachine.Migration{{From: statemachine.In("waiting"), To: "paused"}}
	if c := compare(t, second, third); len(c.Stranding()) != 1 || c.Stranding()[0].State != "waiting" {
		t.Errorf("%v", c)
	}
}

func TestOutline(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, _ := drawCompiled(t)
		text, err := json.Marshal(m.Outline())
		if err != nil {
			t.Fatal(err)
		}
		var again statemachine.Outline
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, m.Outline()) || again.Hash() != m.Outline().Hash() {
			t.Fatalf("%+v became %+v", m.Outline(), again)
		}
		d := m.Definition()
		d.Version++
		d.Transitions = rapid.Permutation(d.Transitions).Draw(t, "another order")
		if got := statemachine.MustCompile(d).Outline(); got.Hash() != again.Hash() {
			t.Fatalf("the hash depends on the order or the version")
		}
	})
}

// TestHash checks that each part of a definition that can be written down is in its hash.
func TestHash(t *testing.T) {
	t.Parallel()
	seen := map[string]string{statemachine.MustCompile(parcel()).Outline().Hash(): "the first"}
	edits := map[string]func(*statemachine.Definition){
		"name":     func(d *statemachine.Definition) { d.Name = "letter" },
		"revision": func(d *statemachine.Definition) { d.Revision = "b" },
		"event":    func(d *statemachine.Definition) { d.Transitions[0].Event = "wrapped" },
		"target":   func(d *statemachine.Definition) { d.Transitions[3].To = "ready" },
		"terminal": func(d *statemachine.Definition) {
			d.Terminal = append(d.Terminal, "waiting")
			d.Transitions = slices.Delete(d.Transitions, 3, 4)
		},
		"migration": func(d *statemachine.Definition) {
			d.Migrations = []statemachine.Migration{{From: statemachine.In("old"), To: "ready"}}
		},
		"deadline": func(d *statemachine.Definition) { d.Transitions[4].After = time.Hour },
		"period":   func(d *statemachine.Definition) { d.Transitions[4].AfterPeriod.Days = 1 },
		"clock": func(d *statemachine.Definition) {
			d.Transitions[4].After, d.Transitions[4].Clock = time.Hour, statemachine.RecordClock
		},
		"action": func(d *statemachine.Definition) {
			d.Transitions[4].Do = statemachine.Do(func(*statemachine.Firing, *struct{}, struct{}) error { return nil })
		},
	}
	for name, edit := range edits {
		d := parcel()
		edit(&d)
		hash := statemachine.MustCompile(d).Outline().Hash()
		if other, ok := seen[hash]; ok {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[hash] = name
	}
}

// TestNothingStrands makes random edits of random definitions, and entities that are at any
// place under the first one. If Compare reports no stranding change, each of them has a way to
// a terminal state of the second one. It checks 1,000 edits, or 10 times -rapid.checks.
func TestNothingStrands(t *testing.T) {
	t.Parallel()
	var stranded, safe atomic.Int64
	t.Cleanup(func() {
		if stranded.Load() == 0 || safe.Load() == 0 {
			t.Errorf("%d edits strand something, %d do not", stranded.Load(), safe.Load())
		}
	})
	for i := range 10 {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				if strands(t) {
					stranded.Add(1)
				} else {
					safe.Add(1)
				}
			})
		})
	}
}

// strands checks one edit, and returns whether it strands a state.
func strands(t *rapid.T) bool {
	before, ways := drawCompiled(t)
	d := before.Definition()
	for range rapid.IntRange(1, 4).Draw(t, "edits") {
		edit(t, &d)
	}
	d.Version++
	after, err := statemachine.Compile(d)
	if err != nil {
		t.Skip("the edits are not a definition")
	}
	c, err := statemachine.Compare(before.Outline(), after.Outline())
	if err != nil {
		t.Fatal(err)
	}
	lost := make(map[statemachine.State]bool)
	for _, change := range c.Stranding() {
		lost[change.State] = true
	}
	next := arrowsOf(d)
	for s := range ways.reachable(statemachine.None) {
		at := s
		if to, ok := after.Fire(s, statemachine.Migrated); ok {
			at = to
		}
		ends := slices.ContainsFunc(after.Definition().Terminal, func(end statemachine.State) bool { return at == end || next.reachable(at)[end] })
		if s != statemachine.None && ends == lost[s] {
			t.Fatalf("state %q: it can end: %v; Compare says that it is stranded: %v\n%v", s, ends, lost[s], c)
		}
	}
	return len(lost) > 0
}

// edit changes a definition, often to an invalid one.
func edit(t *rapid.T, d *statemachine.Definition) {
	if len(d.Transitions) == 0 {
		t.Skip("an edit has removed all transitions")
	}
	i := rapid.IntRange(0, len(d.Transitions)-1).Draw(t, "transition")
	name := statemachine.State(rapid.SampledFrom([]string{"s1", "s2", "s3", "s4", "s5", "new"}).Draw(t, "state"))
	switch rapid.IntRange(0, 5).Draw(t, "edit") {
	case 0: // a state is renamed
		to := statemachine.State(rapid.SampledFrom([]string{"new", "newer"}).Draw(t, "name"))
		renameState(d, name, to)
		if rapid.Bool().Draw(t, "migrates") {
			d.Migrations = append(d.Migrations, statemachine.Migration{From: statemachine.In(name), To: to})
		}
	case 1:
		if len(d.Transitions) > 1 {
			d.Transitions = slices.Delete(slices.Clone(d.Transitions), i, i+1)
		}
	case 2:
		d.Transitions[i].To = name
	case 3:
		d.Transitions = append(d.Transitions, statemachine.Transition{Event: "added", From: statemachine.In(name), To: d.Transitions[i].To})
	case 4:
		d.Transitions[i].Event = "other"
	case 5: // a state is merged into another
		to := d.Transitions[i].To
		d.Transitions = slices.DeleteFunc(slices.Clone(d.Transitions), func(tr statemachine.Transition) bool {
			return slices.Equal(tr.From, statemachine.In(name))
		})
		renameState(d, name, to)
		d.Migrations = append(d.Migrations, statemachine.Migration{From: statemachine.In(name), To: to})
	}
}

func renameState(d *statemachine.Definition, from, to statemachine.State) {
	swap := func(s statemachine.State) statemachine.State {
		if s == from {
			return to
		}
		return s
	}
	for i := range d.Transitions {
		tr := &d.Transitions[i]
		tr.To = swap(tr.To)
		for j := range tr.From {
			tr.From[j] = swap(tr.From[j])
		}
	}
	for i := range d.Terminal {
		d.Terminal[i] = swap(d.Terminal[i])
	}
}
