package versioningtest

import (
	"cmp"
	"slices"
	"testing"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Define replaces the machines, as when workers with other versions of them take over. The
// content stays. As in PostgreSQL, the store remembers all definitions that it has had, and the
// fold knows those that are newer. It panics like [NewMemory]. Do not call it while others use
// the store.
func (m *Memory) Define(rules ...versioning.Rules) {
	next := NewMemory(rules...)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rules {
		m.remember(r.Machine.Outline())
	}
	m.rules, m.codecs = next.rules, next.codecs
	for name, r := range m.rules {
		for _, o := range m.defined[name] {
			if o.Version > r.Machine.Version() {
				r.Newer = append(r.Newer, o)
			}
		}
		m.rules[name] = r
	}
}

// remember adds a definition to those that the store has had.
func (m *Memory) remember(o statemachine.Outline) {
	all := m.defined[o.Name]
	at, there := slices.BinarySearchFunc(all, o.Version, func(a statemachine.Outline, version int) int { return cmp.Compare(a.Version, version) })
	if !there {
		m.defined[o.Name] = slices.Insert(all, at, o)
	}
}

// isOlder reports whether an older version of a parked record's machine has judged it.
func (m *Memory) isOlder(p versioning.Parked) bool {
	r, ok := m.rules[p.Entity.Machine]
	return ok && p.Definition < r.Machine.Version()
}

// checkDefinitions checks that a store with an older version of a machine keeps the records that
// only a newer version can apply, and that the newer one judges them again.
func checkDefinitions(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{steps: []step{
		{"order/a placed", "applied"},
		{"order/a held", "applied"},
		{"order/a captured", "applied"},
		{"order/b placed", "applied"},
		{"order/b nosuch", "rejected unknown_event"},
		{"order/b delivered + order/c placed", "applied"},
		{"order/a shipped", "applied"},
		{"order/b captured", "rejected illegal"},
	}})
	deployed, ok := s.Contents.(interface {
		Define(rules ...versioning.Rules)
	})
	if !ok {
		t.Skip("the harness has no method Define")
	}
	older, newer := suiteRules(), suiteRules()
	newer[0].Machine = nextOrderMachine
	deployed.Define(newer...)
	deployed.Define(older...)

	records := s.records()
	s.batch(records[:4]...)
	s.batch(records[4:6]...)
	want := []Parked{
		{records[1].Origin, entity("order/a"), versioning.ReasonNewerDefinition, 1, 3},
		{records[2].Origin, entity("order/a"), versioning.ReasonNewerDefinition, 1, 3},
		{records[5].Origin, entity("order/b"), versioning.ReasonNotYet, 1, 3},
	}
	if got := s.Parked(); !slices.Equal(got, want) {
		t.Errorf("parked by the older version: %v, want %v", got, want)
	}
	deployed.Define(newer...)
	s.batch(records[6:]...)
	s.c.rows = []string{"order/a shipped@4", "order/b delivered@2", "order/c pending@1"}
	s.c.dead = []string{"order/b unknown_event", "order/b illegal"}
	s.settled()
}

// checkUnknown checks that a store keeps a record with an unknown event if the rules say so, and
// the entity's later ones, until a newer version comes that has the event.
func checkUnknown(t *testing.T, open Open) {
	s := newScript(t, open, suiteCase{steps: []step{
		{"order/a placed", "applied"},
		{"order/a held", "applied"},
		{"order/a captured", "applied"},
		{"order/b placed", "applied"},
		{"order/b captured", "applied"},
		{"order/c shipped + order/a shipped", "applied"},
		{"order/c placed", "applied"},
		{"order/c captured", "applied"},
		{"order/a delivered", "applied"},
	}})
	deployed, ok := s.Contents.(interface {
		Define(rules ...versioning.Rules)
	})
	if !ok {
		t.Skip("the harness has no method Define")
	}
	older, newer := suiteRules(), suiteRules()
	older[0].KeepUnknown = true
	newer[0].Machine = nextOrderMachine
	deployed.Define(older...)

	records := s.records()
	s.batch(records[:2]...)
	s.batch(records[2:5]...)
	s.batch(records[1]) // redelivered
	s.batch(records[5:6]...)
	s.batch(records[6:8]...) // c moves, and what waits for it must not overtake what waits for a
	want := []Parked{
		{records[1].Origin, entity("order/a"), versioning.ReasonUnknownEvent, 1, 3},
		{records[2].Origin, entity("order/a"), versioning.ReasonBehindUnknown, 1, 3},
		{records[5].Origin, entity("order/a"), versioning.ReasonBehindUnknown, 1, 3},
	}
	if got := s.Parked(); !slices.Equal(got, want) {
		t.Errorf("parked: %v, want %v", got, want)
	}
	deployed.Define(newer...)
	s.batch(records[8:]...)
	s.c.rows = []string{"order/a delivered@5", "order/b paid@2", "order/c shipped@3"}
	s.settled()
}

// nextOrderMachine has an event that orderMachine does not have, and one that is legal in
// another state.
var nextOrderMachine = func() *statemachine.Machine {
	d := orderMachine.Definition()
	d.Version++
	d.Transitions = append(d.Transitions,
		statemachine.Transition{Event: "held", From: statemachine.In("pending"), To: "pending"},
		statemachine.Transition{Event: "delivered", From: statemachine.In("pending"), To: "delivered"})
	return statemachine.MustCompile(d)
}()
