package statemachine

import (
	"slices"
)

// checkGraph finds states that no path from None reaches, and states from which
// no path reaches a terminal state.
func (v *validator) checkGraph() {
	if !v.checkCreation() || v.lacksTarget() {
		return
	}
	forward, backward := v.neighbours()
	v.checkReachable(forward)
	v.checkEnds(forward, backward)
}

// checkCreation reports whether a transition creates the entity. Without one,
// every state would be unreachable.
func (v *validator) checkCreation() bool {
	for _, t := range v.def.Transitions {
		if slices.Contains(t.sources(), None) {
			return true
		}
	}
	if len(v.def.Transitions) > 0 {
		v.report(Problem{Reason: ErrNoCreation}, "no transition creates the entity; leave From empty in the transition that does")
	}
	return false
}

// lacksTarget reports whether a transition has no target, so that paths cannot
// be checked yet.
func (v *validator) lacksTarget() bool {
	return slices.ContainsFunc(v.def.Transitions, func(t Transition) bool { return t.To == None })
}

// neighbours maps each state to its successors and to its predecessors.
func (v *validator) neighbours() (forward, backward map[State][]State) {
	forward, backward = make(map[State][]State), make(map[State][]State)
	for _, t := range v.def.Transitions {
		for _, from := range t.sources() {
			from = v.intended(from)
			forward[from] = append(forward[from], t.To)
			backward[t.To] = append(backward[t.To], from)
		}
	}
	return forward, backward
}

// intended resolves a misspelt state to the one meant, so that a typo is not
// reported a second time as a dead end or an unreachable state.
func (v *validator) intended(s State) State {
	if meant, ok := v.meant[s]; ok {
		return meant
	}
	return s
}

func (v *validator) checkReachable(forward map[State][]State) {
	starts := []State{None}
	for s := range v.meant {
		starts = append(starts, s)
	}
	reached := flood(forward, starts)
	for _, s := range v.declared {
		if !reached[s] {
			v.report(Problem{Reason: ErrUnreachableState, State: s}, "state %q cannot be reached from any creating transition; add a transition into it or remove the state", s)
		}
	}
}

func (v *validator) checkEnds(forward, backward map[State][]State) {
	var ends []State
	for s := range v.terminal {
		if end := v.intended(s); slices.Contains(v.declared, end) {
			ends = append(ends, end)
		}
	}
	if len(ends) == 0 {
		return // already reported; every state would be a dead end
	}
	ending := flood(backward, ends)
	for _, s := range v.declared {
		if ending[s] {
			continue
		}
		p := Problem{Reason: ErrDeadEnd, State: s}
		if len(forward[s]) == 0 {
			p.Suggestion = string(nearest(s, v.declared))
		}
		v.report(p, "no terminal state can be reached from state %q; add a transition out of it or list it in Terminal", s)
	}
}

// flood returns all states reachable from starts, including starts.
func flood(neighbours map[State][]State, starts []State) map[State]bool {
	reached := make(map[State]bool)
	for len(starts) > 0 {
		s := starts[len(starts)-1]
		starts = starts[:len(starts)-1]
		if !reached[s] {
			reached[s] = true
			starts = append(starts, neighbours[s]...)
		}
	}
	return reached
}
