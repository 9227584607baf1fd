package statemachine

import "slices"

// State is the name of a state. The zero value is None.
type State string

// None is the state of an entity that does not exist yet. Every path through a
// machine begins there; no transition leads back to it. It is not listed by
// [Machine.States], must not be written in Transition.From (leave From empty
// instead) nor in Definition.Terminal.
const None State = ""

// Event is the name of something that happened to an entity. The zero value is
// no event; [Compile] refuses it.
type Event string

// Bounds of a definition. They keep the compiled table small (8 bytes for each
// pair of state and event) and every name storable in an indexed text column.
const (
	MaxNameBytes = 255  // the machine's name, each state and each event, in bytes
	MaxStates    = 1000 // without None
	MaxEvents    = 1000
)

// In lists states, so that a transition reads as a sentence:
// From: statemachine.In(Pending, Paid). In() is empty.
func In(states ...State) []State { return states }

// Transition declares that Event moves an entity out of each of the states From
// into To. From and To may be the same state; that is a transition as well.
type Transition struct {
	// Event must not be empty. It may have several transitions, but only one
	// out of any one state.
	Event Event

	// From lists the states in which Event is legal. Nil or empty: Event creates
	// the entity.
	From []State

	// To must not be None.
	To State

	// Guard may refuse the transition for one record. Nil allows it always.
	Guard Guard
}

// Attempt is what a guard decides on: one record about to move one entity.
type Attempt struct {
	Key   string // the entity's key
	Event Event
	From  State // the state of the row now; None when there is no row
	To    State // the state that the transition leads to

	// Version is the version of the row now; 0 when there is no row.
	Version int64

	// Payload is the record's value. It must be neither kept nor changed. Nil
	// for a record without a value.
	Payload []byte
}

// Guard refuses a transition by returning an error; nil allows it. It must be a
// pure function of its argument, because it may be called again for the same
// record (the row is read again after a conflict), and safe for concurrent use.
//
// Guards take no part in the analysis: every transition counts as one that may
// happen.
type Guard func(Attempt) error

// Definition is a state machine as data. Nothing happens before [Compile], which
// checks all of it at once. The zero value is refused.
type Definition struct {
	// Name identifies the machine in history rows and errors. Required.
	Name string

	// Version is at least 1. Raise it when states or transitions change.
	Version int

	// Transitions declares the states: a state exists because some transition
	// leads to it. At least one must have an empty From.
	Transitions []Transition

	// Terminal lists the states that an entity never leaves. At least one.
	Terminal []State
}

// clone copies all that the caller could still write to.
func (d Definition) clone() Definition {
	d.Transitions = slices.Clone(d.Transitions)
	for i := range d.Transitions {
		d.Transitions[i].From = slices.Clone(d.Transitions[i].From)
	}
	d.Terminal = slices.Clone(d.Terminal)
	return d
}

// states lists the states in the order of their first mention, None and the
// empty To of a faulty transition left out.
func (d Definition) states() []State {
	var all []State
	for _, t := range d.Transitions {
		all = append(all, t.From...)
		all = append(all, t.To)
	}
	return distinct(append(all, d.Terminal...))
}

// events lists the events in the order of their first mention.
func (d Definition) events() []Event {
	all := make([]Event, 0, len(d.Transitions))
	for _, t := range d.Transitions {
		all = append(all, t.Event)
	}
	return distinct(all)
}

// distinct keeps the first of each non-empty name.
func distinct[N ~string](names []N) []N {
	seen := make(map[N]bool)
	var kept []N
	for _, n := range names {
		if n != "" && !seen[n] {
			seen[n] = true
			kept = append(kept, n)
		}
	}
	return kept
}

// sources lists the states that t leaves: None for a creating transition.
func (t Transition) sources() []State {
	if len(t.From) == 0 {
		return []State{None}
	}
	return t.From
}
