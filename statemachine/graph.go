package statemachine

import "iter"

// arc is one transition in the compiled table, by index.
type arc struct{ from, event, to uint16 }

// graph is the compiled table as a graph, with the sets derived for each state.
// A machine does not keep it: it is built to compile the machine and to search
// for a counterexample path.
type graph struct {
	events int
	out    [][]arc  // by state
	legal  []bitset // by state: the events that are legal in it
	future []bitset // by state: the events that are legal in it or in a later state
	past   []bitset // by state: the events on some path to it
}

func newGraph(m *Machine) *graph {
	states, events := len(m.states), len(m.events)
	g := &graph{
		events: events,
		out:    make([][]arc, states),
		legal:  newBitsets(states, events),
		future: newBitsets(states, events),
		past:   newBitsets(states, events),
	}
	taken := newBitsets(states, events) // by state: the events of the transitions into it
	for s := range states {
		for e := range events {
			for to := range m.targets(s, e) {
				g.out[s] = append(g.out[s], arc{uint16(s), uint16(e), to})
				g.legal[s].add(uint16(e))
				taken[to].add(uint16(e))
			}
		}
	}
	g.propagate(taken)
	return g
}

// targets yields the indexes of the states that an event may lead to from a state.
func (m *Machine) targets(state, event int) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		c := m.at(state, event)
		if c.branches == 0 && c.to != none {
			yield(c.to)
		}
		for _, b := range m.branches[c.branches] {
			if !yield(b.to) {
				return
			}
		}
	}
}

// propagate carries legal events backward and taken events forward along all
// paths. Validation ensures that a path from None reaches every state.
func (g *graph) propagate(taken []bitset) {
	for from, reached := range g.closure() {
		for to := range g.out {
			if reached.has(uint16(to)) {
				g.future[from].union(g.legal[to])
				g.past[to].union(taken[from])
			}
		}
	}
}

// closure returns, for each state, the states reachable from it, including
// itself (Warshall's algorithm, one row of bits at a time).
func (g *graph) closure() []bitset {
	reach := newBitsets(len(g.out), len(g.out))
	for s, arcs := range g.out {
		reach[s].add(uint16(s))
		for _, a := range arcs {
			reach[s].add(a.to)
		}
	}
	for via := range reach {
		for from := range reach {
			if reach[from].has(uint16(via)) {
				reach[from].union(reach[via])
			}
		}
	}
	return reach
}

func (g *graph) class(state, event uint16) Class {
	switch {
	case g.legal[state].has(event):
		return Now
	case g.future[state].has(event):
		return Later
	case g.past[state].has(event):
		return Behind
	default:
		return Never
	}
}
