package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/looplab/fsm"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
)

// arrows is a machine for the naive checks of this file.
type arrows map[statemachine.State]map[statemachine.Event]statemachine.State

func (a arrows) add(from statemachine.State, e statemachine.Event, to statemachine.State) bool {
	if a[from] == nil {
		a[from] = make(map[statemachine.Event]statemachine.State)
	}
	if _, taken := a[from][e]; taken {
		return false
	}
	a[from][e] = to
	return true
}

func arrowsOf(d statemachine.Definition) arrows {
	a := make(arrows)
	for _, t := range d.Transitions {
		if len(t.From) == 0 {
			a.add(statemachine.None, t.Event, t.To)
		}
		for _, from := range t.From {
			a.add(from, t.Event, t.To)
		}
	}
	return a
}

// drawMachine draws a valid definition: a tree from None, a way out of every
// state except the last, and any further arrows, so that there are cycles,
// self-transitions and events that occur in many states.
func drawMachine(t *rapid.T) statemachine.Definition {
	n := rapid.IntRange(1, 5).Draw(t, "states")
	width := rapid.IntRange(1, 4).Draw(t, "events")
	state := func(i int) statemachine.State {
		if i == 0 {
			return statemachine.None
		}
		return statemachine.State(fmt.Sprintf("s%d", i))
	}
	d := statemachine.Definition{Name: "drawn", Version: 1, Terminal: statemachine.In(state(n))}
	a := make(arrows)
	add := func(from, to int, required bool) {
		e := rapid.IntRange(0, width-1).Draw(t, "event")
		for !a.add(state(from), statemachine.Event(fmt.Sprintf("e%d", e)), state(to)) {
			if !required {
				return
			}
			e++
		}
		tr := statemachine.Transition{Event: statemachine.Event(fmt.Sprintf("e%d", e)), To: state(to)}
		if from != 0 {
			tr.From = statemachine.In(state(from))
		}
		d.Transitions = append(d.Transitions, tr)
	}
	for to := 1; to <= n; to++ {
		add(rapid.IntRange(0, to-1).Draw(t, "parent"), to, true)
	}
	for from := 1; from < n; from++ {
		add(from, rapid.IntRange(from+1, n).Draw(t, "on"), true)
	}
	for range rapid.IntRange(0, 4).Draw(t, "more") {
		add(rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(1, n).Draw(t, "to"), false)
	}
	d.Transitions = rapid.Permutation(d.Transitions).Draw(t, "order")
	return d
}

func drawCompiled(t *rapid.T) (*statemachine.Machine, arrows) {
	d := drawMachine(t)
	m, err := statemachine.Compile(d)
	if err != nil {
		t.Fatalf("%v\n%v", err, d)
	}
	return m, arrowsOf(d)
}

// withNone lists all states of m, None first.
func withNone(m *statemachine.Machine) []statemachine.State {
	return append([]statemachine.State{statemachine.None}, m.States()...)
}

// TestTableAgreesWithLooplab builds a separate looplab machine from the
// definition by hand and drives it along a random sequence of events.
func TestTableAgreesWithLooplab(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, a := drawCompiled(t)
		var list []fsm.EventDesc
		for from, out := range a {
			for e, to := range out {
				list = append(list, fsm.EventDesc{Name: string(e), Src: []string{string(from)}, Dst: string(to)})
			}
		}
		engine := fsm.NewFSM("", list, nil)
		for _, e := range rapid.SliceOfN(rapid.SampledFrom(append(m.Events(), "foreign")), 0, 30).Draw(t, "fired") {
			from := statemachine.State(engine.Current())
			to, ok := m.Fire(from, e)
			err := engine.Event(context.Background(), string(e))
			var stays fsm.NoTransitionError
			moved := err == nil || errors.As(err, &stays)
			if ok != moved || ok && string(to) != engine.Current() || !ok && to != statemachine.None {
				t.Fatalf("Fire(%q, %q) = %q, %v; looplab is in %q: %v", from, e, to, ok, engine.Current(), err)
			}
		}
	})
}

// reachable is a plain depth-first search.
func (a arrows) reachable(from statemachine.State) map[statemachine.State]bool {
	seen := make(map[statemachine.State]bool)
	var visit func(statemachine.State)
	visit = func(s statemachine.State) {
		if seen[s] {
			return
		}
		seen[s] = true
		for _, to := range a[s] {
			visit(to)
		}
	}
	visit(from)
	return seen
}

func (a arrows) classify(from statemachine.State, e statemachine.Event) statemachine.Class {
	if _, ok := a[from][e]; ok {
		return statemachine.Now
	}
	for s := range a.reachable(from) {
		if _, ok := a[s][e]; ok {
			return statemachine.Later
		}
	}
	for s := range a.reachable(statemachine.None) {
		if to, ok := a[s][e]; ok && a.reachable(to)[from] {
			return statemachine.Behind
		}
	}
	return statemachine.Never
}

func TestClassifyAgreesWithPathSearch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, a := drawCompiled(t)
		for _, s := range withNone(m) {
			for _, e := range m.Events() {
				if got, want := m.Classify(s, e), a.classify(s, e); got != want {
					t.Fatalf("Classify(%q, %q) = %v; want %v", s, e, got, want)
				}
			}
		}
	})
}

// TestCompileAgreesWithNaiveRules draws definitions, most of them invalid.
func TestCompileAgreesWithNaiveRules(t *testing.T) {
	t.Parallel()
	states := rapid.SampledFrom([]statemachine.State{"open", "closed", "locked", "gone"})
	events := rapid.SampledFrom([]statemachine.Event{"turn", "push", "lock"})
	rapid.Check(t, func(t *rapid.T) {
		d := statemachine.Definition{Name: "drawn", Version: 1}
		for range rapid.IntRange(0, 6).Draw(t, "transitions") {
			d.Transitions = append(d.Transitions, statemachine.Transition{
				Event: events.Draw(t, "event"), From: rapid.SliceOfN(states, 0, 2).Draw(t, "from"), To: states.Draw(t, "to"),
			})
		}
		d.Terminal = rapid.SliceOfN(states, 0, 2).Draw(t, "terminal")
		_, err := statemachine.Compile(d)
		if want := naivelyValid(d); (err == nil) != want {
			t.Fatalf("valid: %v; Compile: %v\n%+v", want, err, d)
		}
	})
}

func naivelyValid(d statemachine.Definition) bool {
	a := make(arrows)
	for _, t := range d.Transitions {
		sources := t.From
		if len(sources) == 0 {
			sources = statemachine.In(statemachine.None)
		}
		for _, from := range sources {
			if !a.add(from, t.Event, t.To) || slices.Contains(d.Terminal, from) {
				return false
			}
		}
	}
	if len(d.Terminal) == 0 || len(d.Terminal) == 2 && d.Terminal[0] == d.Terminal[1] {
		return false
	}
	alive := a.reachable(statemachine.None)
	for _, s := range d.Terminal {
		if !alive[s] {
			return false
		}
	}
	for s := range a {
		if !alive[s] {
			return false
		}
	}
	for s := range alive {
		if !slices.ContainsFunc(d.Terminal, func(end statemachine.State) bool { return a.reachable(s)[end] }) {
			return false
		}
	}
	return true
}
