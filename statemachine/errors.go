package statemachine

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Problems of a definition. [Compile] wraps each in a *[Problem] that says
// where it is, and all of them in one *[DefinitionError]; errors.Is looks
// through both.
var (
	ErrNoName              = errors.New("the machine has no name")
	ErrVersion             = errors.New("the machine's version is below 1")
	ErrNoTransitions       = errors.New("the machine has no transitions")
	ErrNoCreation          = errors.New("no transition creates the entity")
	ErrNoTerminal          = errors.New("no terminal state is declared")
	ErrEmptyEvent          = errors.New("a transition has no event")
	ErrEmptyTarget         = errors.New("a transition has no target")
	ErrNoneListed          = errors.New("the state None is listed")
	ErrBadName             = errors.New("a name cannot be stored in a text column")
	ErrTooLarge            = errors.New("the machine is too large")
	ErrTwoTargets          = errors.New("one event in one state has two targets")
	ErrDuplicateTransition = errors.New("a transition is declared twice")
	ErrDuplicateTerminal   = errors.New("a terminal state is listed twice")
	ErrUndeclaredState     = errors.New("no transition leads to the state")
	ErrUnreachableState    = errors.New("the state cannot be reached")
	ErrDeadEnd             = errors.New("no terminal state can be reached from the state")
	ErrTerminalExit        = errors.New("a transition leaves a terminal state")
	ErrUnreachableBranch   = errors.New("a branch can never be taken")
	ErrNoLabel             = errors.New("a condition has no label")
	ErrNilFunction         = errors.New("a function of a transition is nil")
	ErrRowType             = errors.New("the row type is not a struct")
	ErrTwoRowTypes         = errors.New("two functions of a machine take different row types")
	ErrEventType           = errors.New("the type of event data is an interface")
	ErrTwoEventTypes       = errors.New("two functions of an event take different types of data")
	ErrDeadline            = errors.New("a transition's deadline is not usable")
	ErrReserved            = errors.New("the name of an event is reserved")
	ErrMigration           = errors.New("a migration is not usable")
)

// Problems of the arguments of [FromLooplab] and [Machine.FSM]. They are
// wrapped in a *[Problem] too.
var (
	ErrNoSource        = errors.New("a looplab event has no source state")
	ErrCreationSource  = errors.New("the creating transition has a source state")
	ErrUnknownState    = errors.New("the machine has no such state")
	ErrUnknownCallback = errors.New("looplab would never call the callback")
	ErrCallbackClash   = errors.New("the callback's name is ambiguous")
	ErrNilCallback     = errors.New("the callback is nil")
	ErrBranches        = errors.New("an event has several branches in one state")
)

// ErrEngine reports that looplab/fsm returned something its contract rules out.
// A definition that passed validation cannot cause it.
var ErrEngine = errors.New("unexpected result from looplab/fsm")

// Problem describes one problem of a definition or of an argument. Fields that
// do not apply are zero.
type Problem struct {
	// Reason is one of the Err variables of this package; errors.Is finds it.
	Reason error

	// Transition is an index in Definition.Transitions, or for ErrNoSource in
	// the looplab event list. It is -1 if the problem is not about one
	// transition.
	Transition int

	Event Event // the event the problem is about, or the event of the transition
	State State // the state the problem is about, or the state from which Event is invalid

	// Targets holds the two targets of ErrTwoTargets, ErrUnreachableBranch and
	// ErrBranches: the first one declared comes first.
	Targets [2]State

	// Types holds the types of ErrTwoRowTypes and ErrTwoEventTypes, or the one of
	// ErrRowType and ErrEventType.
	Types [2]reflect.Type

	// Name is the invalid name of ErrBadName, or the callback's name.
	Name string

	// Suggestion is the closest valid name. It is empty if no name is close.
	Suggestion string

	// Detail says what is wrong and what to do.
	Detail string
}

// Error returns the transition, Detail and the suggestion.
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

// DefinitionError is the error of [Compile]. It holds every problem of the
// definition.
type DefinitionError struct {
	Machine  string // Definition.Name, which may be empty
	Problems []*Problem
}

// Error lists the problems, one per line.
func (e *DefinitionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "statemachine: invalid definition of machine %q, problems: %d", e.Machine, len(e.Problems))
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
