package model

import (
	"slices"

	"github.com/pawl-go/pawl/statemachine"
)

// machine answers questions about a definition by searching its transitions. It
// remembers the answers of graph searches.
type machine struct {
	statemachine.Definition

	programs []Program // of the transitions, if they compute
	answers  map[question]bool
}

type question struct {
	about string
	state statemachine.State
	event statemachine.Event
}

func newMachine(d Definition) machine {
	return machine{d.Definition, d.Programs, make(map[question]bool)}
}

func (m machine) remember(q question, search func() bool) bool {
	answer, ok := m.answers[q]
	if !ok {
		answer = search()
		m.answers[q] = answer
	}
	return answer
}

// branches returns the indexes of the transitions that event can take, in their order.
func (m machine) branches(from statemachine.State, event statemachine.Event) (branches []int) {
	for i, t := range m.Transitions {
		creates := len(t.From) == 0
		if t.Event == event && (creates && from == statemachine.None || slices.Contains(t.From, from)) {
			branches = append(branches, i)
		}
	}
	return branches
}

func (m machine) legal(from statemachine.State, event statemachine.Event) bool {
	return len(m.branches(from, event)) > 0
}

// targets returns the states that event can lead to.
func (m machine) targets(from statemachine.State, event statemachine.Event) (targets []statemachine.State) {
	for _, i := range m.branches(from, event) {
		targets = append(targets, m.Transitions[i].To)
	}
	return targets
}

func (m machine) knows(event statemachine.Event) bool {
	return slices.ContainsFunc(m.Transitions, func(t statemachine.Transition) bool { return t.Event == event })
}

// events returns the events that are legal in state from.
func (m machine) events(from statemachine.State) (events []statemachine.Event) {
	for _, t := range m.Transitions {
		if m.legal(from, t.Event) && !slices.Contains(events, t.Event) {
			events = append(events, t.Event)
		}
	}
	return events
}

// later reports whether event is legal in a state that can be reached from
// from.
func (m machine) later(from statemachine.State, event statemachine.Event) bool {
	return m.remember(question{"later", from, event}, func() bool { return m.searchLater(from, event) })
}

func (m machine) searchLater(from statemachine.State, event statemachine.Event) bool {
	seen := map[statemachine.State]bool{}
	queue := []statemachine.State{from}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		for _, e := range m.events(state) {
			for _, to := range m.targets(state, e) {
				if m.legal(to, event) {
					return true
				}
				if !seen[to] {
					seen[to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	return false
}

// behind reports whether some path to a state takes event.
func (m machine) behind(at statemachine.State, event statemachine.Event) bool {
	return m.remember(question{"behind", at, event}, func() bool { return m.searchBehind(at, event) })
}

func (m machine) searchBehind(at statemachine.State, event statemachine.Event) bool {
	type place struct {
		state statemachine.State
		taken bool
	}
	seen := map[place]bool{}
	queue := []place{{statemachine.None, false}}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if p == (place{at, true}) {
			return true
		}
		for _, e := range m.events(p.state) {
			for _, to := range m.targets(p.state, e) {
				if next := (place{to, p.taken || e == event}); !seen[next] {
					seen[next] = true
					queue = append(queue, next)
				}
			}
		}
	}
	return false
}
