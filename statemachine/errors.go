package statemachine

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a definition. [Compile] wraps each in a *[Problem] that
// names the culprit, and all of them in one *[DefinitionError]; errors.Is finds
// them through both.
var (
	ErrNoName              = errors.New("the machine has no name")
	ErrVersion             = errors.New("the machine's version is below 1")
	ErrNoTransitions       = errors.New("the machine has no transitions")
	ErrNoCreation          = errors.New("no transition creates the entity")
	ErrNoTerminal          = errors.New("no terminal state is declared")
	ErrEmptyEvent          = errors.New("a transition has no event")
	ErrEmptyTarget         = errors.New("a transition has no target")
	ErrNoneListed          = errors.New("the state None is listed")
	ErrBadName             = errors.New("a name cannot be stored")
	ErrTooLarge            = errors.New("the machine is too large")
	ErrTwoTargets          = errors.New("one event in one state has two targets")
	ErrDuplicateTransition = errors.New("a transition is declared twice")
	ErrDuplicateTerminal   = errors.New("a terminal state is listed twice")
	ErrUndeclaredState     = errors.New("no transition leads to the state")
	ErrUnreachableState    = errors.New("the state cannot be reached")
	ErrDeadEnd             = errors.New("no terminal state can be reached from the state")
	ErrTerminalExit        = errors.New("a terminal state has a way out")
)

// What can be wrong with the arguments of [FromLooplab] and [Machine.FSM]. They
// come wrapped in a *[Problem] as well.
var (
	ErrNoSource        = errors.New("a looplab event has no source state")
	ErrCreationSource  = errors.New("the creating transition has a source state")
	ErrUnknownState    = errors.New("the machine does not have the state")
	ErrUnknownCallback = errors.New("looplab would never call the callback")
	ErrCallbackClash   = errors.New("the callback's name is ambiguous")
	ErrNilCallback     = errors.New("the callback is nil")
)

// ErrEngine says that looplab/fsm answered in a way that its contract rules out.
// A definition that passed validation cannot cause it.
var ErrEngine = errors.New("looplab/fsm gave an unexpected answer")

// Problem is one thing wrong with a definition or with an argument. Fields that
// do not apply are zero.
type Problem struct {
	// Reason is one of the Err variables of this package; errors.Is finds it.
	Reason error

	// Transition is the index of the culprit in Definition.Transitions, or in the
	// looplab event list for ErrNoSource; -1 where the problem is not about one
	// transition.
	Transition int

	Event Event // the culprit, or the event of the culprit
	State State // the culprit, or the state in which Event is at fault

	// Targets are the two targets of ErrTwoTargets.
	Targets [2]State

	// Name is the name at fault of ErrBadName, or the callback's name.
	Name string

	// Suggestion is the nearest name that would have been right. Empty when none
	// is near.
	Suggestion string

	// Detail names the culprit in words and says what to do.
	Detail string
}

// Error returns Detail, headed by the place and followed by the suggestion.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Transition >= 0 {
		fmt.Fprintf(&b, "transition %d (event %q): ", p.Transition, p.Event)
	}
	b.WriteString(p.Detail)
	if p.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", p.Suggestion)
	}
	return b.String()
}

// Unwrap returns Reason.
func (p *Problem) Unwrap() error { return p.Reason }

// DefinitionError is what [Compile] returns: every problem of one definition.
type DefinitionError struct {
	Machine  string // Definition.Name, which may be empty
	Problems []*Problem
}

// Error lists the problems, one a line.
func (e *DefinitionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "statemachine: the definition of machine %q is refused, problems: %d", e.Machine, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  - ")
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (e *DefinitionError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}
