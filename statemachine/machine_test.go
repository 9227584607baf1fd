package statemachine_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/statemachine"
)

const (
	pending   statemachine.State = "pending"
	paid      statemachine.State = "paid"
	shipped   statemachine.State = "shipped"
	delivered statemachine.State = "delivered"
	cancelled statemachine.State = "cancelled"
)

// orderDefinition returns the machine of the package documentation.
func orderDefinition() statemachine.Definition {
	return statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "order.placed", To: pending},
			{Event: "payment.captured", From: statemachine.In(pending), To: paid},
			{Event: "order.shipped", From: statemachine.In(paid), To: shipped},
			{Event: "order.delivered", From: statemachine.In(shipped), To: delivered},
			{Event: "order.cancelled", From: statemachine.In(pending, paid), To: cancelled},
		},
		Terminal: statemachine.In(delivered, cancelled),
	}
}

func compile(t testing.TB, d statemachine.Definition) *statemachine.Machine {
	t.Helper()
	m, err := statemachine.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFireAndClassify(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	tests := []struct {
		from  statemachine.State
		event statemachine.Event
		to    statemachine.State
		class statemachine.Class
	}{
		{statemachine.None, "order.placed", pending, statemachine.Now},
		{statemachine.None, "order.delivered", statemachine.None, statemachine.Later},
		{pending, "order.placed", statemachine.None, statemachine.Behind},
		{pending, "payment.captured", paid, statemachine.Now},
		{pending, "order.shipped", statemachine.None, statemachine.Later},
		{paid, "order.cancelled", cancelled, statemachine.Now},
		{shipped, "order.cancelled", statemachine.None, statemachine.Never},
		{cancelled, "payment.captured", statemachine.None, statemachine.Behind},
		{cancelled, "order.shipped", statemachine.None, statemachine.Never},
		{delivered, "order.delivered", statemachine.None, statemachine.Behind},
		{"lost", "order.placed", statemachine.None, statemachine.Unknown},
		{pending, "order.lost", statemachine.None, statemachine.Unknown},
		{statemachine.None, "", statemachine.None, statemachine.Unknown},
	}
	for _, tt := range tests {
		to, ok := m.Fire(tt.from, tt.event)
		if to != tt.to || ok != (tt.to != statemachine.None) {
			t.Errorf("Fire(%q, %q) = %q, %v; want %q", tt.from, tt.event, to, ok, tt.to)
		}
		if class := m.Classify(tt.from, tt.event); class != tt.class {
			t.Errorf("Classify(%q, %q) = %v; want %v", tt.from, tt.event, class, tt.class)
		}
	}
}

// TestClassPrecedence has an event that is legal now, later and behind, one
// that is both later and behind, and one that is only behind.
func TestClassPrecedence(t *testing.T) {
	t.Parallel()
	m := compile(t, statemachine.Definition{
		Name: "loop", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "create", To: "a"},
			{Event: "go", From: statemachine.In("a"), To: "b"},
			{Event: "back", From: statemachine.In("b"), To: "a"},
			{Event: "end", From: statemachine.In("b"), To: "z"},
		},
		Terminal: statemachine.In("z"),
	})
	want := map[statemachine.Event]statemachine.Class{
		"go": statemachine.Later, "back": statemachine.Now, "end": statemachine.Now, "create": statemachine.Behind,
	}
	for e, class := range want {
		if got := m.Classify("b", e); got != class {
			t.Errorf("Classify(b, %s) = %v; want %v", e, got, class)
		}
	}
}

// TestClassifyFarAhead declares the states in a different order than the path.
func TestClassifyFarAhead(t *testing.T) {
	t.Parallel()
	m := compile(t, statemachine.Definition{
		Name: "winding", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "create", To: "a"},
			{Event: "third", From: statemachine.In("b"), To: "d"},
			{Event: "first", From: statemachine.In("a"), To: "c"},
			{Event: "second", From: statemachine.In("c"), To: "b"},
			{Event: "end", From: statemachine.In("d"), To: "z"},
		},
		Terminal: statemachine.In("z"),
	})
	if got := m.Classify("a", "end"); got != statemachine.Later {
		t.Errorf("Classify(a, end) = %v; want later", got)
	}
	if got := m.Classify("z", "first"); got != statemachine.Behind {
		t.Errorf("Classify(z, first) = %v; want behind", got)
	}
}

func TestClassNames(t *testing.T) {
	t.Parallel()
	var zero statemachine.Class
	got := []string{
		zero.String(), statemachine.Now.String(), statemachine.Later.String(),
		statemachine.Behind.String(), statemachine.Never.String(), statemachine.Class(9).String(),
	}
	want := []string{"unknown", "now", "later", "behind", "never", "class(9)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	if m.Name() != "order" || m.Version() != 1 {
		t.Errorf("got %s v%d", m.Name(), m.Version())
	}
	states := []statemachine.State{pending, paid, shipped, delivered, cancelled}
	if diff := cmp.Diff(states, m.States()); diff != "" {
		t.Error(diff)
	}
	events := []statemachine.Event{"order.placed", "payment.captured", "order.shipped", "order.delivered", "order.cancelled"}
	if diff := cmp.Diff(events, m.Events()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(events[:1], m.Creating()); diff != "" {
		t.Error(diff)
	}
	for _, s := range states {
		if terminal := s == delivered || s == cancelled; !m.Has(s) || m.IsTerminal(s) != terminal {
			t.Errorf("%s: Has %v, IsTerminal %v", s, m.Has(s), m.IsTerminal(s))
		}
	}
	if m.Has(statemachine.None) || m.Has("lost") || m.IsTerminal("lost") || m.IsTerminal(statemachine.None) {
		t.Error("Has is true for a state the machine does not have")
	}
	if !m.HasEvent("order.placed") || m.HasEvent("") || m.HasEvent("pending") {
		t.Error("HasEvent returned a wrong result")
	}
}

// TestImmutable changes everything that was passed to the machine or returned
// by it.
func TestImmutable(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	m := compile(t, d)
	d.Transitions[1].From[0] = "x"
	d.Transitions[0].To = "x"
	d.Terminal[0] = "x"
	m.States()[0] = "x"
	m.Events()[0] = "x"
	m.Creating()[0] = "x"
	out := m.Definition()
	out.Transitions[4].From[1] = "x"
	out.Terminal[0] = "x"
	if identity, ok := errors.AsType[*statemachine.IdentityError](m.ProveStateIdentity()); ok {
		identity.Path[0].Event = "x"
	}
	fresh := compile(t, orderDefinition())
	if diff := cmp.Diff(fresh.Definition(), m.Definition(), cmpopts.IgnoreTypes(statemachine.Condition{}, statemachine.Action{})); diff != "" {
		t.Error(diff)
	}
	if m.Mermaid() != fresh.Mermaid() || m.ProveStateIdentity().Error() != fresh.ProveStateIdentity().Error() {
		t.Error("the machine changed")
	}
}

// TestConcurrentUse gives the race detector something to find.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, e := range m.Events() {
				m.Fire(pending, e)
				m.Classify(pending, e)
				m.Branches(pending, e)
				m.OnceOnly(e)
			}
			_ = m.ProveStateIdentity()
			_, _ = m.FSM(pending, nil)
			_ = m.Mermaid() + m.Graphviz()
		})
	}
	wg.Wait()
}

func TestMustCompilePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		err, _ := recover().(error)
		if !errors.Is(err, statemachine.ErrNoName) {
			t.Errorf("MustCompile panicked with %v", err)
		}
	}()
	statemachine.MustCompile(statemachine.Definition{})
}
