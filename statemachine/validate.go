package statemachine

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// arrow is a state and an event in it: what may have one target only.
type arrow struct {
	from  State
	event Event
}

// validator collects the problems of one definition. Each check reports what it
// finds and leaves out what another check reports, so that one slip of the pen
// is one problem.
type validator struct {
	def      Definition
	states   []State
	declared []State // the states that some transition leads to
	terminal map[State]bool
	problems []*Problem

	// meant maps an undeclared state to the declared one it resembles, or to
	// itself. Checks of the whole graph look through it.
	meant map[State]State
}

// validate returns nil or a *DefinitionError with every problem of d.
func validate(d Definition) error {
	v := &validator{def: d, states: d.states(), terminal: make(map[State]bool), meant: make(map[State]State)}
	v.checkHeader()
	v.checkNames()
	if v.checkSize() {
		v.checkTransitions()
		v.checkTerminal()
		v.checkDeclared()
		v.checkTerminalExits()
		v.checkGraph()
	}
	if len(v.problems) == 0 {
		return nil
	}
	return &DefinitionError{Machine: d.Name, Problems: v.problems}
}

// report adds a problem that is not about one transition.
func (v *validator) report(p Problem, format string, args ...any) {
	v.reportAt(-1, p, format, args...)
}

// reportAt adds a problem of the transition with index i.
func (v *validator) reportAt(i int, p Problem, format string, args ...any) {
	p.Transition, p.Detail = i, fmt.Sprintf(format, args...)
	if i >= 0 {
		p.Event = v.def.Transitions[i].Event
	}
	v.problems = append(v.problems, &p)
}

func (v *validator) checkHeader() {
	if v.def.Name == "" {
		v.report(Problem{Reason: ErrNoName}, "the machine has no name; set Name, it identifies the machine in the history")
	}
	if v.def.Version < 1 {
		v.report(Problem{Reason: ErrVersion}, "version %d is below 1; set Version, and raise it when the machine changes", v.def.Version)
	}
}

func (v *validator) checkNames() {
	v.checkName("machine", v.def.Name, Problem{})
	for _, s := range v.states {
		v.checkName("state", string(s), Problem{State: s})
	}
	for _, e := range v.def.events() {
		v.checkName("event", string(e), Problem{Event: e})
	}
}

// checkName refuses what a text column cannot store.
func (v *validator) checkName(kind, name string, p Problem) {
	p.Reason, p.Name = ErrBadName, name
	if len(name) > MaxNameBytes {
		v.report(p, "%s %.40q... is %d bytes long; shorten its name to %d", kind, name, len(name), MaxNameBytes)
	}
	if !utf8.ValidString(name) {
		v.report(p, "%s %q is not valid UTF-8; a text column cannot store it", kind, name)
	}
	if strings.ContainsRune(name, 0) {
		v.report(p, "%s %q contains a NUL byte; a text column cannot store it", kind, name)
	}
}

// checkSize reports whether the machine is small enough to look at any closer.
func (v *validator) checkSize() bool {
	states, events := len(v.states), len(v.def.events())
	if states > MaxStates || events > MaxEvents {
		v.report(Problem{Reason: ErrTooLarge}, "the machine has %d states and %d events, the limits are %d and %d; what differs from entity to entity belongs in a column, not in the state",
			states, events, MaxStates, MaxEvents)
		return false
	}
	return true
}

func (v *validator) checkTransitions() {
	if len(v.def.Transitions) == 0 {
		v.report(Problem{Reason: ErrNoTransitions}, "the machine has no transitions; list them in Transitions")
	}
	targets := make(map[arrow]State)
	for i, t := range v.def.Transitions {
		if t.Event == "" {
			v.reportAt(i, Problem{Reason: ErrEmptyEvent}, "the event is empty; name what happened")
		}
		if t.To == None {
			v.reportAt(i, Problem{Reason: ErrEmptyTarget}, "the target is empty; set To to the state that the event leads to")
		}
		for _, from := range t.sources() {
			v.checkSource(i, t, from, targets)
		}
	}
}

// checkSource checks the arrow of transition i out of one of its sources.
func (v *validator) checkSource(i int, t Transition, from State, targets map[arrow]State) {
	if from == None && len(t.From) > 0 {
		v.reportAt(i, Problem{Reason: ErrNoneListed}, "From lists None; leave From empty for a transition that creates the entity, and give it a Transition of its own")
		return
	}
	if t.Event == "" {
		return
	}
	first, taken := targets[arrow{from, t.Event}]
	switch {
	case !taken:
		targets[arrow{from, t.Event}] = t.To
	case first == t.To:
		v.reportAt(i, Problem{Reason: ErrDuplicateTransition, State: from}, "it is declared before, out of %s to %q; remove one of the two", shown(from), t.To)
	default:
		v.reportAt(i, Problem{Reason: ErrTwoTargets, State: from, Targets: [2]State{first, t.To}},
			"it leads out of %s to %q and to %q; keep one of the two, or make two events of it", shown(from), first, t.To)
	}
}

func (v *validator) checkTerminal() {
	if len(v.def.Terminal) == 0 && len(v.def.Transitions) > 0 {
		v.report(Problem{Reason: ErrNoTerminal}, "no terminal state can be reached, since none is declared; list in Terminal the states that an entity never leaves")
	}
	for _, s := range v.def.Terminal {
		if s == None {
			v.report(Problem{Reason: ErrNoneListed}, "Terminal lists None; an entity that does not exist yet is not at its end")
			continue
		}
		if v.terminal[s] {
			v.report(Problem{Reason: ErrDuplicateTerminal, State: s}, "terminal state %q is listed twice; remove one of the two", s)
		}
		v.terminal[s] = true
	}
}

// checkDeclared finds the states that are mentioned although no transition leads
// to them: most of them are misspelt.
func (v *validator) checkDeclared() {
	isDeclared := make(map[State]bool)
	for _, t := range v.def.Transitions {
		isDeclared[t.To] = true
		v.declared = append(v.declared, t.To)
	}
	v.declared = distinct(v.declared)
	for i, t := range v.def.Transitions {
		for _, from := range t.From {
			if !isDeclared[from] {
				v.undeclared(i, from, "From")
			}
		}
	}
	for _, s := range distinct(v.def.Terminal) {
		if !isDeclared[s] {
			v.undeclared(-1, s, "Terminal")
		}
	}
}

// undeclared reports a state, once for each place that lists it.
func (v *validator) undeclared(i int, s State, list string) {
	if s == None {
		return
	}
	if _, known := v.meant[s]; !known {
		v.meant[s] = s
		if near := nearest(s, v.declared); near != None {
			v.meant[s] = near
		}
	}
	p := Problem{Reason: ErrUndeclaredState, State: s}
	if near := v.meant[s]; near != s {
		p.Suggestion = string(near)
	}
	v.reportAt(i, p, "state %q is listed in %s, but no transition leads to it; correct the name or add the transition", s, list)
}

func (v *validator) checkTerminalExits() {
	for i, t := range v.def.Transitions {
		for _, s := range t.From {
			if v.terminal[s] {
				v.reportAt(i, Problem{Reason: ErrTerminalExit, State: s}, "it leaves state %q, which is terminal; take the state out of From or out of Terminal", s)
			}
		}
	}
}

// checkGraph looks for states that no path from None reaches and for states
// from which no path ends.
func (v *validator) checkGraph() {
	if !v.checkCreation() || v.lacksTarget() {
		return
	}
	forward, backward := v.neighbours()
	v.checkReachable(forward)
	v.checkEnds(forward, backward)
}

// checkCreation reports whether there is a creating transition. Without one,
// every state would count as unreachable.
func (v *validator) checkCreation() bool {
	for _, t := range v.def.Transitions {
		if slices.Contains(t.sources(), None) {
			return true
		}
	}
	if len(v.def.Transitions) > 0 {
		v.report(Problem{Reason: ErrNoCreation}, "no transition creates the entity; leave From empty in the one that does")
	}
	return false
}

// lacksTarget reports whether some transition leads nowhere, so that paths
// cannot be judged yet.
func (v *validator) lacksTarget() bool {
	return slices.ContainsFunc(v.def.Transitions, func(t Transition) bool { return t.To == None })
}

// neighbours maps each state to those that follow it, and to those before it.
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

// intended looks through a misspelling, so that it is reported once, as what it
// is, and not again as a dead end and an unreachable state.
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
			v.report(Problem{Reason: ErrUnreachableState, State: s}, "state %q cannot be reached from any creating transition; add the transition into it or remove the state", s)
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
		return // reported already; it would make a dead end of every state
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
		v.report(p, "no terminal state can be reached from state %q; add a way out or list it in Terminal", s)
	}
}

// flood returns all that can be reached from starts, starts included.
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

// shown quotes a state; None is written out.
func shown(s State) string {
	if s == None {
		return "nothing (creation)"
	}
	return fmt.Sprintf("%q", s)
}
