package statemachine_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
)

// identityErrors splits the joined error.
func identityErrors(err error) []*statemachine.IdentityError {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var all []*statemachine.IdentityError
	for _, e := range joined.Unwrap() {
		if identity, ok := errors.AsType[*statemachine.IdentityError](e); ok {
			all = append(all, identity)
		}
	}
	return all
}

func TestProveStateIdentity(t *testing.T) {
	t.Parallel()
	type transition = statemachine.Transition
	in, none := statemachine.In, statemachine.None
	tests := []struct {
		name        string
		transitions []transition
		want        []*statemachine.IdentityError
	}{
		{"a straight line", []transition{
			{Event: "make", To: "a"},
			{Event: "end", From: in("a"), To: "z"},
		}, nil},
		{"one event on both branches", []transition{
			{Event: "make", To: "a"},
			{Event: "make too", To: "b"},
			{Event: "end", From: in("a", "b"), To: "z"},
		}, []*statemachine.IdentityError{
			{Fault: statemachine.Skipped, Event: "make", State: "z", Path: statemachine.Path{{none, "make too", "b"}, {"b", "end", "z"}}},
			{Fault: statemachine.Skipped, Event: "make too", State: "z", Path: statemachine.Path{{none, "make", "a"}, {"a", "end", "z"}}},
		}},
		{"a self-transition", []transition{
			{Event: "make", To: "a"},
			{Event: "note", From: in("a"), To: "a"},
			{Event: "end", From: in("a"), To: "z"},
		}, []*statemachine.IdentityError{
			{Fault: statemachine.Repeats, Event: "note", State: "a", Path: statemachine.Path{{none, "make", "a"}, {"a", "note", "a"}, {"a", "note", "a"}}},
			{Fault: statemachine.Skipped, Event: "note", State: "z", Path: statemachine.Path{{none, "make", "a"}, {"a", "end", "z"}}},
		}},
		{"one event in a row", []transition{
			{Event: "step", To: "a"},
			{Event: "step", From: in("a"), To: "z"},
		}, []*statemachine.IdentityError{
			{Fault: statemachine.Repeats, Event: "step", State: "a", Path: statemachine.Path{{none, "step", "a"}, {"a", "step", "z"}}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, e := range tt.want {
				e.Machine = "m"
			}
			m := compile(t, statemachine.Definition{Name: "m", Version: 1, Transitions: tt.transitions, Terminal: in("z")})
			if diff := cmp.Diff(tt.want, identityErrors(m.ProveStateIdentity())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOrderFailsStateIdentity uses the example of the package documentation: a
// late payment.captured for an order that was cancelled before it was paid.
func TestOrderFailsStateIdentity(t *testing.T) {
	t.Parallel()
	m := compile(t, orderDefinition())
	want := []*statemachine.IdentityError{{
		Machine: "order", Fault: statemachine.Skipped, Event: "payment.captured", State: cancelled,
		Path: statemachine.Path{{statemachine.None, "order.placed", pending}, {pending, "order.cancelled", cancelled}},
	}}
	err := m.ProveStateIdentity()
	if diff := cmp.Diff(want, identityErrors(err)); diff != "" {
		t.Error(diff)
	}
	text := `statemachine: the state alone cannot detect duplicates in machine "order": event "payment.captured" comes before state "cancelled", ` +
		`but this path skips it: (none) --order.placed--> pending --order.cancelled--> cancelled; ` +
		`a late "payment.captured" would be taken for a duplicate and lost; use the expected version or the message ID instead`
	if diff := cmp.Diff(text, err.Error()); diff != "" {
		t.Error(diff)
	}
	for _, e := range m.Events() {
		if !m.OnceOnly(e) {
			t.Errorf("%s can occur twice", e)
		}
	}
	if m.OnceOnly("foreign") {
		t.Error("OnceOnly is true for an unknown event")
	}
}

// TestIdentityLimits uses as many events as fit in one word of a bitset, and
// one more.
func TestIdentityLimits(t *testing.T) {
	t.Parallel()
	for _, n := range []int{63, 64, 65} {
		if err := compile(t, line(n)).ProveStateIdentity(); err != nil {
			t.Errorf("%d events: %v", n, err)
		}
	}
}

// line returns a machine of n states in a row, with a different event into
// each.
func line(n int) statemachine.Definition {
	name := func(i int) string { return "n" + string(rune('0'+i/10)) + string(rune('0'+i%10)) }
	d := statemachine.Definition{Name: "line", Version: 1}
	for i := range n {
		t := statemachine.Transition{Event: statemachine.Event(name(i)), To: statemachine.State(name(i))}
		if i > 0 {
			t.From = statemachine.In(statemachine.State(name(i - 1)))
		}
		d.Transitions = append(d.Transitions, t)
	}
	d.Terminal = statemachine.In(statemachine.State(name(n - 1)))
	return d
}

// history is where a path ends and how often it took each event, counted up to
// two. There are few histories, so all paths, however long, can be enumerated.
type history struct {
	state statemachine.State
	taken [16]uint8
}

func histories(m *statemachine.Machine, a arrows) map[history]bool {
	column := make(map[statemachine.Event]int)
	for i, e := range m.Events() {
		column[e] = i
	}
	seen := map[history]bool{{}: true}
	for todo := []history{{}}; len(todo) > 0; {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for e, to := range a[h.state] {
			next := history{to, h.taken}
			next.taken[column[e]] = min(2, h.taken[column[e]]+1)
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return seen
}

// TestIdentityAgreesWithAllPaths enumerates every path of small machines.
func TestIdentityAgreesWithAllPaths(t *testing.T) {
	t.Parallel()
	sound, unsound := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		m, a := drawCompiled(t)
		all := histories(m, a)
		faults := make(map[statemachine.Event]map[statemachine.IdentityFault]bool)
		for i, e := range m.Events() {
			faults[e] = bruteForce(m, all, i, e)
			if m.OnceOnly(e) == faults[e][statemachine.Repeats] {
				t.Fatalf("OnceOnly(%s) = %v", e, m.OnceOnly(e))
			}
		}
		reported := make(map[statemachine.Event]map[statemachine.IdentityFault]bool)
		for _, identity := range identityErrors(m.ProveStateIdentity()) {
			if reported[identity.Event] == nil {
				reported[identity.Event] = make(map[statemachine.IdentityFault]bool)
			}
			reported[identity.Event][identity.Fault] = true
			demonstrate(t, m, a, identity)
		}
		maps.DeleteFunc(faults, func(_ statemachine.Event, f map[statemachine.IdentityFault]bool) bool { return len(f) == 0 })
		if diff := cmp.Diff(faults, reported); diff != "" {
			t.Fatal(diff)
		}
		if m.ProveStateIdentity() == nil {
			sound++
		} else {
			unsound++
		}
	})
	if sound == 0 || unsound == 0 {
		t.Errorf("%d machines passed and %d failed the proof; the test needs some of each", sound, unsound)
	}
}

// bruteForce finds the faults of the event with index i by looking at all
// paths.
func bruteForce(m *statemachine.Machine, all map[history]bool, i int, e statemachine.Event) map[statemachine.IdentityFault]bool {
	faults := make(map[statemachine.IdentityFault]bool)
	for h := range all {
		if h.taken[i] == 2 {
			faults[statemachine.Repeats] = true
		}
		if h.taken[i] == 0 && m.Classify(h.state, e) == statemachine.Behind {
			faults[statemachine.Skipped] = true
		}
	}
	return faults
}

// demonstrate follows the printed path and checks that it shows the fault the
// error claims.
func demonstrate(t *rapid.T, m *statemachine.Machine, a arrows, identity *statemachine.IdentityError) {
	at, taken := statemachine.None, 0
	for _, step := range identity.Path {
		if step.From != at || a[at][step.Event] != step.To {
			t.Fatalf("%v is not a path", identity.Path)
		}
		if step.Event == identity.Event {
			taken++
		}
		at = step.To
	}
	last := identity.Path[len(identity.Path)-1]
	switch identity.Fault {
	case statemachine.Repeats:
		if taken != 2 || last.Event != identity.Event || last.From != identity.State {
			t.Fatalf("%v", identity)
		}
	case statemachine.Skipped:
		if taken != 0 || at != identity.State || m.Classify(at, identity.Event) != statemachine.Behind {
			t.Fatalf("%v", identity)
		}
	default:
		t.Fatalf("%v", identity)
	}
}

// TestProofIsSound checks what the proof promises: in a machine that passes, an
// event that classifies as Behind was taken, whatever the path, and an event
// that was taken classifies as Behind.
func TestProofIsSound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, a := drawCompiled(t)
		if m.ProveStateIdentity() != nil {
			return
		}
		for h := range histories(m, a) {
			for i, e := range m.Events() {
				if behind := m.Classify(h.state, e) == statemachine.Behind; behind != (h.taken[i] > 0) {
					t.Fatalf("%v: %s", h, e)
				}
			}
		}
	})
}

func TestIdentityFaultNames(t *testing.T) {
	t.Parallel()
	if statemachine.Repeats.String() != "repeats" || statemachine.Skipped.String() != "skipped" || statemachine.IdentityFault(0).String() != "fault(0)" {
		t.Error("IdentityFault.String returned a wrong name")
	}
	if got := (statemachine.Path{}).String(); got != "(empty path)" {
		t.Error(got)
	}
}
