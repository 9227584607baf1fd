package statemachine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// IdentityFault says which of the two conditions of
// [Machine.ProveStateIdentity] a machine fails.
type IdentityFault uint8

const (
	// Repeats: the event can occur twice on one path, so a second one may be a
	// duplicate or a new occurrence.
	Repeats IdentityFault = iota + 1

	// Skipped: the event lies behind the state, but some path reaches the state
	// without it, so a late first occurrence would be taken for a duplicate and
	// lost.
	Skipped
)

// String returns "repeats" or "skipped".
func (f IdentityFault) String() string {
	switch f {
	case Repeats:
		return "repeats"
	case Skipped:
		return "skipped"
	default:
		return fmt.Sprintf("fault(%d)", uint8(f))
	}
}

// IdentityError says why the state alone cannot detect duplicates. See
// [Machine.ProveStateIdentity].
type IdentityError struct {
	Machine string
	Fault   IdentityFault
	Event   Event

	// State is the ambiguous state. For Repeats, it is a state in which Event
	// is legal although it was taken before. For Skipped, it is a state that
	// some paths reach with Event and Path reaches without it.
	State State

	// Path is a shortest counterexample, starting at None. For Repeats it takes
	// Event twice, the second time from State. For Skipped it ends in State
	// without taking Event.
	Path Path
}

// Error explains the fault and prints the path.
func (e *IdentityError) Error() string {
	if e.Fault == Repeats {
		return fmt.Sprintf("statemachine: the state alone cannot detect duplicates in machine %q: event %q can occur twice on one path, "+
			"so a repeated %[2]q in state %q may be a duplicate or a new occurrence: %v; "+
			"use the expected version or the message ID instead", e.Machine, e.Event, e.State, e.Path)
	}
	return fmt.Sprintf("statemachine: the state alone cannot detect duplicates in machine %q: event %q comes before state %q, "+
		"but this path skips it: %v; a late %[2]q would be taken for a duplicate and lost; "+
		"use the expected version or the message ID instead", e.Machine, e.Event, e.State, e.Path)
}

// Step is one transition of a path.
type Step struct {
	From  State
	Event Event
	To    State
}

// Path is a path through a machine: each step starts where the previous one
// ended.
type Path []Step

// String formats the path as (none) --placed--> pending --captured--> paid.
func (p Path) String() string {
	if len(p) == 0 {
		return "(empty path)"
	}
	var b strings.Builder
	b.WriteString(plain(p[0].From))
	for _, step := range p {
		fmt.Fprintf(&b, " --%s--> %s", visible(string(step.Event)), plain(step.To))
	}
	return b.String()
}

// plain returns a state without quotes, and None as (none).
func plain(s State) string {
	if s == None {
		return "(none)"
	}
	return visible(string(s))
}

// ProveStateIdentity returns nil if the state alone detects duplicates: (1) no
// event can occur twice on any path, and (2) if an event lies behind a state,
// every path to that state takes the event. Then an event that classifies as
// [Behind] has already taken effect.
//
// Otherwise the error joins *[IdentityError] values, at most one of each fault
// per event, in the order of the events; errors.As finds the first. Guards are
// ignored: a path counts even if a guard would never allow it.
//
// Compile evaluates both conditions; this method only searches for the paths.
func (m *Machine) ProveStateIdentity() error {
	if !slices.Contains(m.onceOnly, false) && !slices.Contains(m.skipped, true) {
		return nil
	}
	g := newGraph(m)
	var errs []error
	for i := range m.events {
		e := uint16(i)
		if !m.onceOnly[i] {
			path := m.path(g.pathTwice(e))
			errs = append(errs, &IdentityError{m.def.Name, Repeats, m.events[i], path[len(path)-1].From, path})
		}
		if m.skipped[i] {
			path := m.path(g.pathAround(e))
			errs = append(errs, &IdentityError{m.def.Name, Skipped, m.events[i], path[len(path)-1].To, path})
		}
	}
	return errors.Join(errs...)
}

// path converts arcs to a path with names.
func (m *Machine) path(arcs []arc) Path {
	path := make(Path, len(arcs))
	for i, a := range arcs {
		path[i] = Step{m.states[a.from], m.events[a.event], m.states[a.to]}
	}
	return path
}

// checkIdentity evaluates both conditions for every event.
func (m *Machine) checkIdentity(g *graph) {
	m.onceOnly, m.skipped = make([]bool, len(m.events)), make([]bool, len(m.events))
	taken := g.takenOnAllPaths()
	for i := range m.events {
		e := uint16(i)
		m.onceOnly[i] = !g.repeats(e)
		for s := range m.states {
			if m.at(s, i).class == Behind && !taken[s].has(e) {
				m.skipped[i] = true
			}
		}
	}
}

// takenOnAllPaths returns, for each state, the events that every path to it
// takes: the intersection over the arcs into it. It starts with all events in
// every set and removes events until nothing changes.
func (g *graph) takenOnAllPaths() []bitset {
	taken := newBitsets(len(g.out), g.events)
	for s := range g.out[none+1:] {
		taken[none+1+s].fill()
	}
	carried := newBitsets(1, g.events)[0]
	for queue := []int{none}; len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		for _, a := range g.out[from] {
			copy(carried, taken[from])
			carried.add(a.event)
			if taken[a.to].intersect(carried) {
				queue = append(queue, int(a.to))
			}
		}
	}
	return taken
}

// repeats reports whether e is legal in a state that follows e.
func (g *graph) repeats(e uint16) bool {
	for _, arcs := range g.out {
		for _, a := range arcs {
			if a.event == e && g.future[a.to].has(e) {
				return true
			}
		}
	}
	return false
}

// pathAround returns a shortest path to a state that has e behind it, without
// taking e, or nil if there is none.
func (g *graph) pathAround(e uint16) []arc {
	return g.search(
		func(at place, a arc) (place, bool) { return place{a.to, 0}, a.event != e },
		func(at place) bool { return g.class(at.state, e) == Behind },
	)
}

// pathTwice returns a shortest path that takes e twice.
func (g *graph) pathTwice(e uint16) []arc {
	return g.search(
		func(at place, a arc) (place, bool) {
			if a.event == e {
				at.taken++
			}
			return place{a.to, at.taken}, true
		},
		func(at place) bool { return at.taken == 2 },
	)
}

// place is a node of the search: a state, and how often the path to it took the
// event, counted up to two.
type place struct {
	state uint16
	taken int
}

// search is a breadth-first search from None for a place that satisfies found.
// It follows the arcs that step allows and returns the path.
func (g *graph) search(step func(place, arc) (place, bool), found func(place) bool) []arc {
	type visit struct {
		place
		via  arc
		prev int // index in visits
	}
	visits := []visit{{place: place{none, 0}, prev: -1}}
	seen := make([]bool, 3*len(g.out)) // by state and taken
	for i := 0; i < len(visits); i++ {
		if found(visits[i].place) {
			var path []arc
			for ; visits[i].prev >= 0; i = visits[i].prev {
				path = append(path, visits[i].via)
			}
			slices.Reverse(path)
			return path
		}
		for _, a := range g.out[visits[i].state] {
			next, ok := step(visits[i].place, a)
			if node := 3*int(next.state) + next.taken; ok && !seen[node] {
				seen[node] = true
				visits = append(visits, visit{next, a, i})
			}
		}
	}
	return nil
}
