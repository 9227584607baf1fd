package statemachine_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/looplab/fsm"

	"github.com/pawl-go/pawl/statemachine"
)

// order and cancel are a row type and an event type.
type (
	order  struct{ Total, Captured int64 }
	cancel struct{ Amount int64 }
)

func capture(f *statemachine.Firing, o *order, c cancel) error {
	switch {
	case c.Amount < 0:
		return errors.New("negative")
	case o.Captured+c.Amount > o.Total:
		return statemachine.NotYet(errors.New("more than the total"))
	}
	o.Captured += c.Amount
	return nil
}

func coversTheRest(o order, c cancel) bool { return o.Captured+c.Amount == o.Total }

// paymentDefinition has an event with two branches in one state.
func paymentDefinition() statemachine.Definition {
	open, closed := statemachine.State("open"), statemachine.State("closed")
	return statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "authorized", To: open},
			{
				Event: "captured", From: statemachine.In(open), To: closed,
				When: statemachine.When("covers the rest", coversTheRest), Do: statemachine.Do(capture),
			},
			{Event: "captured", From: statemachine.In(open), To: open, Do: statemachine.Do(capture)},
			{Event: "voided", From: statemachine.In(open), To: closed},
		},
		Terminal: statemachine.In(closed),
	}
}

func TestBranches(t *testing.T) {
	t.Parallel()
	m := compile(t, paymentDefinition())
	branches := m.Branches("open", "captured")
	if len(branches) != 2 || branches[0].To != "closed" || branches[1].To != "open" {
		t.Fatalf("branches: %v", branches)
	}
	if branches[0].Label() != "covers the rest" || !branches[0].IsConditional() || branches[1].IsConditional() || branches[1].Label() != "" {
		t.Error("the conditions are not those of the transitions")
	}
	row := &order{Total: 10, Captured: 4}
	if !branches[0].Holds(row, cancel{6}) || branches[0].Holds(row, cancel{5}) || !branches[1].Holds(row, cancel{5}) {
		t.Error("Holds does not call the condition")
	}
	if branches[0].Holds(row, nil) {
		t.Error("no data is not the zero value")
	}
	f := &statemachine.Firing{}
	if err := branches[1].Act(f, row, cancel{5}); err != nil || row.Captured != 9 {
		t.Errorf("the action left %+v: %v", row, err)
	}
	if err := branches[1].Act(f, row, cancel{5}); !statemachine.IsNotYet(err) || err.Error() != "more than the total" {
		t.Errorf("too much: %v", err)
	}
	if err := branches[1].Act(f, row, cancel{-1}); err == nil || statemachine.IsNotYet(err) {
		t.Errorf("negative: %v", err)
	}
	for _, at := range []struct {
		from  statemachine.State
		event statemachine.Event
	}{{"open", "voided"}, {"closed", "captured"}, {"lost", "captured"}, {"open", "lost"}, {statemachine.None, "authorized"}} {
		if m.Branches(at.from, at.event) != nil {
			t.Errorf("Branches(%s, %s) is not nil", at.from, at.event)
		}
	}
	if to, ok := m.Fire("open", "captured"); !ok || to != "closed" {
		t.Errorf("Fire = %s, %v, want the first branch", to, ok)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	m := compile(t, paymentDefinition())
	if m.RowType() != reflect.TypeFor[order]() || m.EventType("captured") != reflect.TypeFor[cancel]() {
		t.Errorf("types %v and %v", m.RowType(), m.EventType("captured"))
	}
	if m.EventType("voided") != nil || m.EventType("lost") != nil {
		t.Error("an event without functions has a type")
	}
	if compile(t, orderDefinition()).RowType() != nil {
		t.Error("a machine without functions has a row type")
	}
}

// All branches count as possible.
func TestBranchesInAnalysis(t *testing.T) {
	t.Parallel()
	m := compile(t, paymentDefinition())
	for at, want := range map[statemachine.State]statemachine.Class{
		statemachine.None: statemachine.Later, "open": statemachine.Now, "closed": statemachine.Behind,
	} {
		if got := m.Classify(at, "captured"); got != want {
			t.Errorf("captured in %q is %v, want %v", at, got, want)
		}
	}
	if m.OnceOnly("captured") || !m.OnceOnly("authorized") {
		t.Error("captured can occur twice, on the branch that stays; authorized cannot")
	}
	var fault *statemachine.IdentityError
	if err := m.ProveStateIdentity(); !errors.As(err, &fault) || fault.Fault != statemachine.Repeats || fault.Event != "captured" {
		t.Errorf("%v", err)
	}
	d := paymentDefinition()
	d.Transitions = append(d.Transitions[:1:1], d.Transitions[2]) // only the branch that stays
	if _, err := statemachine.Compile(d); !errors.Is(err, statemachine.ErrUndeclaredState) {
		t.Errorf("without the way to closed: %v", err)
	}
}

// looplab has no branches, so a machine with branches can't be converted to it.
func TestBranchesInLooplab(t *testing.T) {
	t.Parallel()
	var problem *statemachine.Problem
	_, err := compile(t, paymentDefinition()).FSM("open", nil)
	if !errors.As(err, &problem) || !errors.Is(err, statemachine.ErrBranches) || problem.State != "open" || problem.Event != "captured" {
		t.Errorf("%v", err)
	}
	d := paymentDefinition()
	d.Transitions = slices.Delete(d.Transitions, 2, 3)
	engine, err := compile(t, d).FSM("open", fsm.Callbacks{})
	if err != nil || !engine.Can("captured") {
		t.Errorf("one branch with a condition: %v", err)
	}
}

// TestFunctionProblems checks what Compile says about functions.
func TestFunctionProblems(t *testing.T) {
	t.Parallel()
	type other struct{ X int }
	when := statemachine.When("w", coversTheRest)
	for name, c := range map[string]struct {
		change func(*statemachine.Definition)
		want   error
	}{
		"after the otherwise": {func(d *statemachine.Definition) {
			d.Transitions[1], d.Transitions[2] = d.Transitions[2], d.Transitions[1]
		}, statemachine.ErrUnreachableBranch},
		"two without When": {func(d *statemachine.Definition) { d.Transitions[1].When = statemachine.Condition{} }, statemachine.ErrTwoTargets},
		"no label": {func(d *statemachine.Definition) {
			d.Transitions[1].When = statemachine.When("", coversTheRest)
		}, statemachine.ErrNoLabel},
		"nil condition": {func(d *statemachine.Definition) {
			d.Transitions[1].When = statemachine.When[order, cancel]("w", nil)
		}, statemachine.ErrNilFunction},
		"nil action": {func(d *statemachine.Definition) { d.Transitions[1].Do = statemachine.Do[order, cancel](nil) }, statemachine.ErrNilFunction},
		"row is no struct": {func(d *statemachine.Definition) {
			d.Transitions[0].Do = statemachine.Do(func(*statemachine.Firing, *int, cancel) error { return nil })
		}, statemachine.ErrRowType},
		"two row types": {func(d *statemachine.Definition) {
			d.Transitions[3].Do = statemachine.Do(func(*statemachine.Firing, *other, cancel) error { return nil })
		}, statemachine.ErrTwoRowTypes},
		"two event types": {func(d *statemachine.Definition) {
			d.Transitions[2].Do = statemachine.Do(func(*statemachine.Firing, *order, other) error { return nil })
		}, statemachine.ErrTwoEventTypes},
		"When and Do differ": {func(d *statemachine.Definition) {
			d.Transitions[1].When = statemachine.When("w", func(order, other) bool { return true })
		}, statemachine.ErrTwoEventTypes},
		"event is an interface": {func(d *statemachine.Definition) {
			d.Transitions[3].Do = statemachine.Do(func(*statemachine.Firing, *order, any) error { return nil })
		}, statemachine.ErrEventType},
		"last has a When": {func(d *statemachine.Definition) { d.Transitions[2].When = when }, nil},
	} {
		d := paymentDefinition()
		c.change(&d)
		_, err := statemachine.Compile(d)
		var problems *statemachine.DefinitionError
		switch {
		case c.want == nil:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.Is(err, c.want) || !errors.As(err, &problems) || len(problems.Problems) > 2:
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestFiringID(t *testing.T) {
	t.Parallel()
	at := statemachine.Firing{Machine: "payment", Key: "p1", Version: 3, Time: time.Now()}
	same := statemachine.Firing{Machine: "payment", Key: "p1", Version: 3, Event: "captured"}
	if at.ID() != same.ID() {
		t.Error("one step has two IDs")
	}
	for _, other := range []statemachine.Firing{
		{Machine: "payment", Key: "p1", Version: 4},
		{Machine: "payment", Key: "p2", Version: 3},
		{Machine: "order", Key: "p1", Version: 3},
		{Machine: "paymentp", Key: "1", Version: 3},
		{Machine: "payment", Key: "p13"},
	} {
		if other.ID() == at.ID() {
			t.Errorf("%+v has the same ID", other)
		}
	}
	if id := at.ID(); len(id) != 36 || id[14] != '8' || id[8] != '-' {
		t.Errorf("%s is not a UUID of version 8", id)
	}
}

// A function may wrap NotYet.
func TestNotYet(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := errors.Join(errors.New("context"), statemachine.NotYet(cause))
	if !statemachine.IsNotYet(err) || !errors.Is(err, cause) || statemachine.IsNotYet(cause) || statemachine.IsNotYet(nil) {
		t.Error("IsNotYet does not tell")
	}
}
