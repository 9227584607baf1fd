package statemachine

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// arrow is an event in a state.
type arrow struct {
	from  State
	event Event
}

// validator collects the problems of one definition. Each check leaves out what
// another check reports, so that one typo is one problem.
type validator struct {
	def      Definition
	states   []State
	declared []State // the states that a transition leads to
	terminal map[State]bool
	problems []*Problem

	// meant maps an undeclared state to the declared state it resembles, or to
	// itself. The checks of the whole graph use it.
	meant map[State]State
}

// validate returns nil or a *DefinitionError with every problem of d.
func validate(d Definition) error {
	v := &validator{def: d, states: d.states(), terminal: make(map[State]bool), meant: make(map[State]State)}
	v.checkHeader()
	v.checkNames()
	if v.checkSize() {
		v.checkTransitions()
		v.checkFunctions()
		v.checkDeadlines()
		v.checkTerminal()
		v.checkDeclared()
		v.checkTerminalExits()
		v.checkGraph()
		v.checkMigrations()
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
		v.report(Problem{Reason: ErrNoName}, "the machine has no name; set Name, which identifies the machine in the history")
	}
	if v.def.Version < 1 {
		v.report(Problem{Reason: ErrVersion}, "version %d is below 1; set Version, and increase it when the machine changes", v.def.Version)
	}
}

func (v *validator) checkNames() {
	v.checkName("machine", v.def.Name, Problem{})
	for _, s := range v.states {
		v.checkName("state", string(s), Problem{State: s})
	}
	for _, e := range v.def.events() {
		v.checkName("event", string(e), Problem{Event: e})
		if strings.HasPrefix(string(e), reserved) {
			v.report(Problem{Reason: ErrReserved, Event: e}, "event %q begins with %q, like the events that the framework makes itself; choose another name", e, reserved)
		}
	}
	if len(v.def.Revision) > MaxNameBytes || !utf8.ValidString(v.def.Revision) || strings.ContainsRune(v.def.Revision, 0) {
		v.report(Problem{Reason: ErrBadName, Name: v.def.Revision}, "the revision must be UTF-8 without NUL bytes and have at most %d bytes", MaxNameBytes)
	}
}

// checkName rejects names that a text column cannot store.
func (v *validator) checkName(kind, name string, p Problem) {
	p.Reason, p.Name = ErrBadName, name
	if len(name) > MaxNameBytes {
		v.report(p, "%s %.40q... is %d bytes long; shorten it to %d bytes", kind, name, len(name), MaxNameBytes)
	}
	if !utf8.ValidString(name) {
		v.report(p, "%s %q is not valid UTF-8, so a text column cannot store it; correct the name", kind, name)
	}
	if strings.ContainsRune(name, 0) {
		v.report(p, "%s %q contains a NUL byte, so a text column cannot store it; remove the byte", kind, name)
	}
}

// checkSize reports whether the machine is small enough for the remaining
// checks.
func (v *validator) checkSize() bool {
	states, events := len(v.states), len(v.def.events())
	if states > MaxStates || events > MaxEvents {
		v.report(Problem{Reason: ErrTooLarge}, "the machine has %d states and %d events, but the limits are %d and %d; put what differs between entities in a column, not in the state",
			states, events, MaxStates, MaxEvents)
		return false
	}
	return true
}

func (v *validator) checkTransitions() {
	if len(v.def.Transitions) == 0 {
		v.report(Problem{Reason: ErrNoTransitions}, "the machine has no transitions; list them in Transitions")
	}
	always := make(map[arrow]State)
	for i, t := range v.def.Transitions {
		if t.Event == "" {
			v.reportAt(i, Problem{Reason: ErrEmptyEvent}, "the event is empty; set Event to the name of what happened")
		}
		if t.To == None {
			v.reportAt(i, Problem{Reason: ErrEmptyTarget}, "the target is empty; set To to the state the event leads to")
		}
		for _, from := range t.sources() {
			v.checkSource(i, t, from, always)
		}
	}
}

// checkSource checks transition i from one of its sources. always has the
// targets of the transitions so far that have no condition.
func (v *validator) checkSource(i int, t Transition, from State, always map[arrow]State) {
	if from == None && len(t.From) > 0 {
		v.reportAt(i, Problem{Reason: ErrNoneListed}, "From lists None; to create the entity, write a separate Transition with an empty From")
		return
	}
	if t.Event == "" {
		return
	}
	first, taken := always[arrow{from, t.Event}]
	switch {
	case !taken && t.isUnconditional():
		always[arrow{from, t.Event}] = t.To
	case !taken:
		// A condition, and none before it always holds.
	case !t.isUnconditional():
		v.reportAt(i, Problem{Reason: ErrUnreachableBranch, State: from, Targets: [2]State{first, t.To}},
			"the branch from %s to %q can never be taken, because the one to %q comes first and has no When; move this one before it", stateText(from), t.To, first)
	case first == t.To:
		v.reportAt(i, Problem{Reason: ErrDuplicateTransition, State: from}, "the transition from %s to %q is already declared; remove one of the two", stateText(from), t.To)
	default:
		v.reportAt(i, Problem{Reason: ErrTwoTargets, State: from, Targets: [2]State{first, t.To}},
			"the event leads from %s to both %q and %q; keep one of the two, use two events, or give all but the last a When", stateText(from), first, t.To)
	}
}

func (v *validator) checkTerminal() {
	if len(v.def.Terminal) == 0 && len(v.def.Transitions) > 0 {
		v.report(Problem{Reason: ErrNoTerminal}, "no terminal state is declared; list in Terminal the states that an entity never leaves")
	}
	for _, s := range v.def.Terminal {
		if s == None {
			v.report(Problem{Reason: ErrNoneListed}, "Terminal lists None, which is the state before creation; remove it")
			continue
		}
		if v.terminal[s] {
			v.report(Problem{Reason: ErrDuplicateTerminal, State: s}, "terminal state %q is listed twice; remove one of the two", s)
		}
		v.terminal[s] = true
	}
}

// checkDeclared finds states that are mentioned although no transition leads to
// them. Most of them are typos.
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

// undeclared reports a state, once for each list that mentions it.
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
				v.reportAt(i, Problem{Reason: ErrTerminalExit, State: s}, "the transition leaves terminal state %q; remove the state from From or from Terminal", s)
			}
		}
	}
}

// stateText quotes a state and writes None out.
func stateText(s State) string {
	if s == None {
		return "nothing (creation)"
	}
	return fmt.Sprintf("%q", s)
}
