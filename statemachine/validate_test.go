package statemachine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/statemachine"
)

// problems compiles an invalid definition and returns its problems.
func problems(t *testing.T, d statemachine.Definition) []statemachine.Problem {
	t.Helper()
	m, err := statemachine.Compile(d)
	if m != nil {
		t.Error("Compile returned both a machine and an error")
	}
	var refused *statemachine.DefinitionError
	if !errors.As(err, &refused) {
		t.Fatalf("Compile returned %v", err)
	}
	var all []statemachine.Problem
	for _, p := range refused.Problems {
		if !errors.Is(err, p.Reason) || p.Detail == "" {
			t.Errorf("%+v", p)
		}
		all = append(all, *p)
	}
	return all
}

// TestRefusals breaks the order machine in one way each and expects exactly the
// problems of that mistake: none may be reported twice.
func TestRefusals(t *testing.T) {
	t.Parallel()
	type (
		definition = statemachine.Definition
		transition = statemachine.Transition
		problem    = statemachine.Problem
	)
	in := statemachine.In
	add := func(ts ...transition) func(*definition) {
		return func(d *definition) { d.Transitions = append(d.Transitions, ts...) }
	}
	long := statemachine.State(strings.Repeat("x", statemachine.MaxNameBytes+1))
	tests := []struct {
		name  string
		spoil func(*definition)
		want  []problem
	}{
		{"no name", func(d *definition) { d.Name = "" }, []problem{
			{Reason: statemachine.ErrNoName, Transition: -1},
		}},
		{"no version", func(d *definition) { d.Version = 0 }, []problem{
			{Reason: statemachine.ErrVersion, Transition: -1},
		}},
		{"no transitions", func(d *definition) { d.Transitions, d.Terminal = nil, nil }, []problem{
			{Reason: statemachine.ErrNoTransitions, Transition: -1},
		}},
		{"no creating transition", func(d *definition) { d.Transitions[0].From = in(shipped) }, []problem{
			{Reason: statemachine.ErrNoCreation, Transition: -1},
		}},
		{"empty event", add(transition{From: in(paid), To: cancelled}), []problem{
			{Reason: statemachine.ErrEmptyEvent, Transition: 5},
		}},
		{"empty target", add(transition{Event: "order.lost", From: in(paid)}), []problem{
			{Reason: statemachine.ErrEmptyTarget, Transition: 5, Event: "order.lost"},
		}},
		{"empty target of creation", func(d *definition) { d.Transitions[0].To = "" }, []problem{
			{Reason: statemachine.ErrEmptyTarget, Transition: 0, Event: "order.placed"},
			{Reason: statemachine.ErrUndeclaredState, Transition: 1, Event: "payment.captured", State: pending},
			{Reason: statemachine.ErrUndeclaredState, Transition: 4, Event: "order.cancelled", State: pending},
		}},
		{"empty target of the only way out", func(d *definition) { d.Transitions[3].To = "" }, []problem{
			{Reason: statemachine.ErrEmptyTarget, Transition: 3, Event: "order.delivered"},
			{Reason: statemachine.ErrUndeclaredState, Transition: -1, State: delivered},
		}},
		{"empty target of the only way in", func(d *definition) {
			d.Transitions = []transition{
				{Event: "make", To: "a"},
				{Event: "go", From: in("a")},
				{Event: "on", From: in("b"), To: "c"},
				{Event: "back", From: in("c"), To: "b"},
				{Event: "end", From: in("c"), To: "z"},
			}
			d.Terminal = in("z")
		}, []problem{
			{Reason: statemachine.ErrEmptyTarget, Transition: 1, Event: "go"},
		}},
		{"None in From", func(d *definition) { d.Transitions[0].From = in(statemachine.None) }, []problem{
			{Reason: statemachine.ErrNoneListed, Transition: 0, Event: "order.placed"},
		}},
		{"None in Terminal", func(d *definition) { d.Terminal = append(d.Terminal, "") }, []problem{
			{Reason: statemachine.ErrNoneListed, Transition: -1},
		}},
		{"two targets", add(transition{Event: "payment.captured", From: in(pending), To: cancelled}), []problem{
			{
				Reason: statemachine.ErrTwoTargets, Transition: 5, Event: "payment.captured", State: pending,
				Targets: [2]statemachine.State{paid, cancelled},
			},
		}},
		{"two targets of creation", add(transition{Event: "order.placed", To: paid}), []problem{
			{
				Reason: statemachine.ErrTwoTargets, Transition: 5, Event: "order.placed",
				Targets: [2]statemachine.State{pending, paid},
			},
		}},
		{"same transition twice", add(transition{Event: "order.cancelled", From: in(paid), To: cancelled}), []problem{
			{Reason: statemachine.ErrDuplicateTransition, Transition: 5, Event: "order.cancelled", State: paid},
		}},
		{"same source twice", func(d *definition) { d.Transitions[2].From = in(paid, paid) }, []problem{
			{Reason: statemachine.ErrDuplicateTransition, Transition: 2, Event: "order.shipped", State: paid},
		}},
		{"terminal state twice", func(d *definition) { d.Terminal = in(delivered, cancelled, delivered) }, []problem{
			{Reason: statemachine.ErrDuplicateTerminal, Transition: -1, State: delivered},
		}},
		{"unreachable island", add(
			transition{Event: "x", From: in("isle"), To: "islet"},
			transition{Event: "y", From: in("islet"), To: "isle"},
			transition{Event: "z", From: in("isle"), To: cancelled},
		), []problem{
			{Reason: statemachine.ErrUnreachableState, Transition: -1, State: "islet"},
			{Reason: statemachine.ErrUnreachableState, Transition: -1, State: "isle"},
		}},
		{"dead end", add(transition{Event: "order.lost", From: in(shipped), To: "lost"}), []problem{
			{Reason: statemachine.ErrDeadEnd, Transition: -1, State: "lost"},
		}},
		{"endless cycle", add(
			transition{Event: "x", From: in(paid), To: "round"},
			transition{Event: "y", From: in("round"), To: "again"},
			transition{Event: "z", From: in("again"), To: "round"},
		), []problem{
			{Reason: statemachine.ErrDeadEnd, Transition: -1, State: "round"},
			{Reason: statemachine.ErrDeadEnd, Transition: -1, State: "again"},
		}},
		{"misspelt target", func(d *definition) { d.Transitions[4].To = "canceled" }, []problem{
			{Reason: statemachine.ErrUndeclaredState, Transition: -1, State: cancelled, Suggestion: "canceled"},
		}},
		{"misspelt dead end", add(transition{Event: "order.returned", From: in(shipped), To: "delivred"}), []problem{
			{Reason: statemachine.ErrDeadEnd, Transition: -1, State: "delivred", Suggestion: "delivered"},
		}},
		{"way out of a terminal state", add(transition{Event: "order.reopened", From: in(cancelled), To: pending}), []problem{
			{Reason: statemachine.ErrTerminalExit, Transition: 5, Event: "order.reopened", State: cancelled},
		}},
		{"terminal self-transition", add(transition{Event: "order.rated", From: in(delivered), To: delivered}), []problem{
			{Reason: statemachine.ErrTerminalExit, Transition: 5, Event: "order.rated", State: delivered},
		}},
		{"no terminal state", func(d *definition) { d.Terminal = nil }, []problem{
			{Reason: statemachine.ErrNoTerminal, Transition: -1},
		}},
		{"misspelt source", func(d *definition) { d.Transitions[2].From = in("piad") }, []problem{
			{Reason: statemachine.ErrUndeclaredState, Transition: 2, Event: "order.shipped", State: "piad", Suggestion: "paid"},
		}},
		{"foreign source", func(d *definition) { d.Transitions[2].From = in("in stock") }, []problem{
			{Reason: statemachine.ErrUndeclaredState, Transition: 2, Event: "order.shipped", State: "in stock"},
		}},
		{"misspelt terminal state", func(d *definition) { d.Terminal[0] = "Deliverd" }, []problem{
			{Reason: statemachine.ErrUndeclaredState, Transition: -1, State: "Deliverd", Suggestion: "delivered"},
		}},
		{"foreign terminal states only", func(d *definition) { d.Terminal = in("archived") }, []problem{
			{Reason: statemachine.ErrUndeclaredState, Transition: -1, State: "archived"},
		}},
		{"NUL in an event", func(d *definition) { d.Transitions[1].Event = "pay\x00" }, []problem{
			{Reason: statemachine.ErrBadName, Transition: -1, Event: "pay\x00", Name: "pay\x00"},
		}},
		{"invalid UTF-8 in the name", func(d *definition) { d.Name = "\xff" }, []problem{
			{Reason: statemachine.ErrBadName, Transition: -1, Name: "\xff"},
		}},
		{"long state", func(d *definition) { d.Transitions[3].To, d.Terminal[0] = long, long }, []problem{
			{Reason: statemachine.ErrBadName, Transition: -1, State: long, Name: string(long)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := orderDefinition()
			tt.spoil(&d)
			got := problems(t, d)
			compared := cmp.Options{cmpopts.IgnoreFields(statemachine.Problem{}, "Detail"), cmpopts.EquateErrors()}
			if diff := cmp.Diff(tt.want, got, compared); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLongestNames uses names of exactly MaxNameBytes.
func TestLongestNames(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("ü", statemachine.MaxNameBytes/2) + "x"
	compile(t, statemachine.Definition{
		Name: name, Version: 1,
		Transitions: []statemachine.Transition{{Event: statemachine.Event(name), To: statemachine.State(name)}},
		Terminal:    statemachine.In(statemachine.State(name)),
	})
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	d.Name, d.Version = "", -1
	d.Transitions[2].From = statemachine.In("piad")
	d.Transitions = append(d.Transitions, statemachine.Transition{Event: "order.lost", From: statemachine.In(shipped, delivered), To: "lost"})
	_, err := statemachine.Compile(d)
	for _, reason := range []error{
		statemachine.ErrNoName, statemachine.ErrVersion, statemachine.ErrUndeclaredState,
		statemachine.ErrTerminalExit, statemachine.ErrDeadEnd,
	} {
		if !errors.Is(err, reason) {
			t.Errorf("%v is not reported", reason)
		}
	}
	var p *statemachine.Problem
	if !errors.As(err, &p) || !errors.Is(p, statemachine.ErrNoName) {
		t.Errorf("errors.As found %v", p)
	}
}

// TestMessage checks the whole text of one error.
func TestMessage(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	d.Version = 0
	d.Transitions[2].From = statemachine.In("piad")
	d.Transitions = append(d.Transitions, statemachine.Transition{Event: "order.placed", To: "lost"})
	_, err := statemachine.Compile(d)
	want := `statemachine: invalid definition of machine "order", problems: 4
  - version 0 is below 1; set Version, and increase it when the machine changes
  - transition 5 (event "order.placed"): the event leads from nothing (creation) to both "pending" and "lost"; keep one of the two, use two events, or give all but the last a When
  - transition 2 (event "order.shipped"): state "piad" is listed in From, but no transition leads to it; correct the name or add the transition; did you mean "paid"?
  - no terminal state can be reached from state "lost"; add a transition out of it or list it in Terminal`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

// chain returns a machine of n states in a row, with width events per state
// that skip ahead.
func chain(n, width int) statemachine.Definition { return sparse(n, width, width) }

// sparse is chain with more events than are legal in any one state.
func sparse(n, events, width int) statemachine.Definition {
	name := func(i int) statemachine.State { return statemachine.State(fmt.Sprintf("state-%d", i)) }
	d := statemachine.Definition{Name: "chain", Version: 1, Terminal: statemachine.In(name(n - 1))}
	d.Transitions = append(d.Transitions, statemachine.Transition{Event: "event-0", To: name(0)})
	for i := range n - 1 {
		for e := range width {
			d.Transitions = append(d.Transitions, statemachine.Transition{
				Event: statemachine.Event(fmt.Sprintf("event-%d", (7*i+e)%events)),
				From:  statemachine.In(name(i)),
				To:    name(min(n-1, i+1+e)),
			})
		}
	}
	return d
}

func TestSizeLimits(t *testing.T) {
	t.Parallel()
	compile(t, chain(statemachine.MaxStates, 1))
	compile(t, chain(2, statemachine.MaxEvents))
	for _, d := range []statemachine.Definition{chain(statemachine.MaxStates+1, 1), chain(2, statemachine.MaxEvents+1)} {
		got := problems(t, d)
		if len(got) != 1 || !errors.Is(got[0].Reason, statemachine.ErrTooLarge) {
			t.Errorf("%v", got)
		}
	}
}

// TestCompileTime has generous limits, because the race detector and busy
// machines slow it down. It catches a slowdown by an order of magnitude.
func TestCompileTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		states, events, width int
		limit                 time.Duration
	}{
		{200, 25, 25, time.Second},
		{500, 500, 10, 5 * time.Second},
	}
	for _, tt := range tests {
		d := sparse(tt.states, tt.events, tt.width)
		start := time.Now()
		compile(t, d)
		took := time.Since(start)
		t.Logf("%d states, %d transitions: %v", tt.states, len(d.Transitions), took)
		if took > tt.limit {
			t.Errorf("%d states and %d transitions took %v", tt.states, len(d.Transitions), took)
		}
	}
}
