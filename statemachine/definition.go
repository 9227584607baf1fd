package statemachine

import "slices"

// State is the name of a state. The zero value is None.
type State string

// None is the state of an entity that does not exist yet. Every path through a
// machine starts there and no transition leads back to it. [Machine.States]
// does not list it. Do not write it in Definition.Terminal or in
// Transition.From; leave From empty instead.
const None State = ""

// Event is the name of something that happened to an entity. [Compile] rejects
// the zero value.
type Event string

// Limits of a definition. They keep the compiled table small (8 bytes per pair
// of state and event) and make every name fit an indexed text column.
const (
	MaxNameBytes = 255  // of the machine name, each state and each event, in bytes
	MaxStates    = 1000 // not counting None
	MaxEvents    = 1000
)

// In returns its arguments as a slice, so that a transition reads like a
// sentence: From: statemachine.In(Pending, Paid). In() is empty.
func In(states ...State) []State { return states }

// Transition declares that Event moves an entity from any of the states in From
// to To. From may contain To: that is a self-transition.
type Transition struct {
	// Event must not be empty. An event may have several transitions, but only
	// one from each state.
	Event Event

	// From lists the states in which Event is legal. If it is empty, Event
	// creates the entity.
	From []State

	// To must not be None.
	To State

	// Guard may reject the transition for a single record. Nil allows every
	// record.
	Guard Guard
}

// Attempt is the argument of a guard: one record that is about to move one
// entity.
type Attempt struct {
	Key   string // the entity's key
	Event Event
	From  State // the current state of the row; None if there is no row
	To    State // the state the transition leads to

	// Version is the current version of the row; 0 if there is no row.
	Version int64

	// Payload is the record's value, nil if the record has none. The guard must
	// not change or retain it.
	Payload []byte
}

// Guard rejects a transition by returning an error; nil allows it. It must be a
// pure function of its argument, because after a conflict the row is read again
// and the guard is called again for the same record. It must be safe for
// concurrent use.
//
// The analysis of a machine ignores guards: it assumes that every transition
// can happen.
type Guard func(Attempt) error

// Definition describes a state machine as data. [Compile] checks it. The zero
// value is invalid.
type Definition struct {
	// Name identifies the machine in history rows and errors. Required.
	Name string

	// Version must be at least 1. Increase it when states or transitions
	// change.
	Version int

	// Transitions also declares the states: a state exists if a transition
	// leads to it. At least one transition must have an empty From.
	Transitions []Transition

	// Terminal lists the states that an entity never leaves. It must list at
	// least one.
	Terminal []State
}

// clone copies everything that the caller could still change.
func (d Definition) clone() Definition {
	d.Transitions = slices.Clone(d.Transitions)
	for i := range d.Transitions {
		d.Transitions[i].From = slices.Clone(d.Transitions[i].From)
	}
	d.Terminal = slices.Clone(d.Terminal)
	return d
}

// states lists the states in order of first mention, without None and without
// the empty To of an invalid transition.
func (d Definition) states() []State {
	var all []State
	for _, t := range d.Transitions {
		all = append(all, t.From...)
		all = append(all, t.To)
	}
	return distinct(append(all, d.Terminal...))
}

// events lists the events in order of first mention.
func (d Definition) events() []Event {
	all := make([]Event, 0, len(d.Transitions))
	for _, t := range d.Transitions {
		all = append(all, t.Event)
	}
	return distinct(all)
}

// distinct drops empty names and repeated names.
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

// sources lists the states that t leaves: None if t creates the entity.
func (t Transition) sources() []State {
	if len(t.From) == 0 {
		return []State{None}
	}
	return t.From
}
