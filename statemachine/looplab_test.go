package statemachine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/looplab/fsm"

	"github.com/pawl-go/pawl/statemachine"
)

func TestFSM(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	f, err := m.FSM(statemachine.None, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"order.placed", "payment.captured", "order.cancelled"} {
		if err := f.Event(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	if f.Current() != string(cancelled) {
		t.Errorf("in %q", f.Current())
	}
	other, err := m.FSM(paid, nil)
	if err != nil || other.Current() != string(paid) || f.Current() != string(cancelled) {
		t.Errorf("%v, in %q", err, other.Current())
	}
}

// TestEveryKindOfCallbackIsCalled checks that FSM reads names as looplab does:
// looplab calls every callback that FSM accepts.
func TestEveryKindOfCallbackIsCalled(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	for _, name := range []string{
		"before_order.placed", "before_event", "after_order.placed", "after_event", "order.placed",
		"leave_pending", "leave_state", "enter_pending", "enter_state", "pending", "paid", "payment.captured",
	} {
		called := false
		f, err := m.FSM(statemachine.None, fsm.Callbacks{name: func(context.Context, *fsm.Event) { called = true }})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []string{"order.placed", "payment.captured"} {
			if err := f.Event(context.Background(), e); err != nil {
				t.Fatal(err)
			}
		}
		if !called {
			t.Errorf("FSM accepted %s, but looplab did not call it", name)
		}
	}
}

func TestFSMRefuses(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	d.Transitions = append(d.Transitions, statemachine.Transition{Event: "shipped", From: statemachine.In(shipped), To: delivered})
	m := compile(t, d)
	f := func(context.Context, *fsm.Event) {}
	tests := []struct {
		name      string
		initial   statemachine.State
		callbacks fsm.Callbacks
		want      []statemachine.Problem
	}{
		{"unknown state", "shiped", nil, []statemachine.Problem{
			{Reason: statemachine.ErrUnknownState, State: "shiped", Suggestion: "shipped"},
		}},
		{"misspelt callbacks", paid, fsm.Callbacks{"enter_piad": f, "befor_order.placed": f, "leave_order.placed": f, "": f}, []statemachine.Problem{
			{Reason: statemachine.ErrUnknownCallback, Name: ""},
			{Reason: statemachine.ErrUnknownCallback, Name: "befor_order.placed", Suggestion: "before_order.placed"},
			{Reason: statemachine.ErrUnknownCallback, Name: "enter_piad", Suggestion: "enter_paid"},
			{Reason: statemachine.ErrUnknownCallback, Name: "leave_order.placed"},
		}},
		{"callbacks of None", paid, fsm.Callbacks{"leave_": f, "enter_": f}, []statemachine.Problem{
			{Reason: statemachine.ErrUnknownCallback, Name: "enter_"},
			{Reason: statemachine.ErrUnknownCallback, Name: "leave_"},
		}},
		{"short and long form", paid, fsm.Callbacks{"paid": f, "enter_paid": f}, []statemachine.Problem{
			{Reason: statemachine.ErrCallbackClash, Name: "paid"},
		}},
		{"event and state", paid, fsm.Callbacks{"shipped": f, "after_shipped": f}, []statemachine.Problem{
			{Reason: statemachine.ErrCallbackClash, Name: "shipped"},
		}},
		{"nil", paid, fsm.Callbacks{"enter_paid": nil}, []statemachine.Problem{
			{Reason: statemachine.ErrNilCallback, Name: "enter_paid"},
		}},
		{"all at once", "", fsm.Callbacks{"x": nil, "enter_state": nil}, []statemachine.Problem{
			{Reason: statemachine.ErrNilCallback, Name: "enter_state"},
			{Reason: statemachine.ErrUnknownCallback, Name: "x"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			machine, err := m.FSM(tt.initial, tt.callbacks)
			if machine != nil {
				t.Error("FSM returned both a machine and an error")
			}
			comparedProblems(t, tt.want, err)
		})
	}
}

// comparedProblems compares the problems joined in err, ignoring Detail.
func comparedProblems(t *testing.T, want []statemachine.Problem, err error) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not a joined error: %v", err)
	}
	var got []statemachine.Problem
	for _, e := range joined.Unwrap() {
		if p, ok := errors.AsType[*statemachine.Problem](e); ok {
			got = append(got, *p)
		}
	}
	ignored := cmpopts.IgnoreFields(statemachine.Problem{}, "Detail", "Transition")
	if diff := cmp.Diff(want, got, ignored, cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
}

// TestLeaveStateIsCalledOnce includes creation, where plain looplab calls
// leave_state twice.
func TestLeaveStateIsCalledOnce(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	var left []string
	f, err := m.FSM(statemachine.None, fsm.Callbacks{"leave_state": func(_ context.Context, e *fsm.Event) {
		left = append(left, e.Src)
		if len(left) == 1 {
			e.Cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	var canceled fsm.CanceledError
	if err := f.Event(context.Background(), "order.placed"); !errors.As(err, &canceled) {
		t.Fatal(err)
	}
	for _, e := range []string{"order.placed", "payment.captured", "order.shipped"} {
		if err := f.Event(context.Background(), e); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"", "", "pending", "paid"}, left); diff != "" {
		t.Error(diff)
	}
}

// doorEvents is an event list as in looplab's documentation.
var doorEvents = []fsm.EventDesc{
	{Name: "open", Src: []string{"closed"}, Dst: "open"},
	{Name: "close", Src: []string{"open"}, Dst: "closed"},
	{Name: "remove", Src: []string{"open", "closed"}, Dst: "removed"},
}

func TestFromLooplab(t *testing.T) {
	t.Parallel()
	d, err := statemachine.FromLooplab("door", 2, doorEvents, statemachine.Transition{Event: "install", To: "closed"}, "removed")
	if err != nil {
		t.Fatal(err)
	}
	want := statemachine.Definition{
		Name: "door", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "install", To: "closed"},
			{Event: "open", From: statemachine.In("closed"), To: "open"},
			{Event: "close", From: statemachine.In("open"), To: "closed"},
			{Event: "remove", From: statemachine.In("open", "closed"), To: "removed"},
		},
		Terminal: statemachine.In("removed"),
	}
	if diff := cmp.Diff(want, d, cmpopts.IgnoreTypes(statemachine.Condition{}, statemachine.Action{})); diff != "" {
		t.Error(diff)
	}
	if to, ok := compile(t, d).Fire("open", "close"); to != "closed" || !ok {
		t.Errorf("%q, %v", to, ok)
	}
}

// TestFromLooplabWithOwnCreation splits an event that both creates and moves
// entities.
func TestFromLooplabWithOwnCreation(t *testing.T) {
	t.Parallel()
	d, err := statemachine.FromLooplab("lamp", 1, []fsm.EventDesc{
		{Name: "on", Src: []string{"off", ""}, Dst: "lit"},
		{Name: "off", Src: []string{"lit"}, Dst: "off"},
		{Name: "break", Src: []string{"lit"}, Dst: "broken"},
	}, statemachine.Transition{}, "broken")
	if err != nil {
		t.Fatal(err)
	}
	m := compile(t, d)
	for _, from := range []statemachine.State{statemachine.None, "off"} {
		if to, ok := m.Fire(from, "on"); to != "lit" || !ok {
			t.Errorf("Fire(%q, on) = %q, %v", from, to, ok)
		}
	}
}

func TestFromLooplabRefuses(t *testing.T) {
	t.Parallel()
	list := append([]fsm.EventDesc{{Name: "paint", Dst: "closed"}}, doorEvents...)
	create := statemachine.Transition{Event: "install", From: statemachine.In("open"), To: "closed"}
	_, err := statemachine.FromLooplab("door", 1, list, create, "removed")
	comparedProblems(t, []statemachine.Problem{
		{Reason: statemachine.ErrCreationSource, Event: "install", State: "open"},
		{Reason: statemachine.ErrNoSource, Event: "paint"},
	}, err)
}

// TestSecondTargetFromLooplab expects an error where looplab lets the second
// target win.
func TestSecondTargetFromLooplab(t *testing.T) {
	t.Parallel()
	list := append([]fsm.EventDesc{{Name: "open", Src: []string{"closed"}, Dst: "removed"}}, doorEvents...)
	d, err := statemachine.FromLooplab("door", 1, list, statemachine.Transition{Event: "install", To: "closed"}, "removed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statemachine.Compile(d); !errors.Is(err, statemachine.ErrTwoTargets) {
		t.Error(err)
	}
}
