package statemachine

import (
	"slices"
	"time"
)

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
	// Event must not be empty. From one state an event may have several
	// transitions, its branches: each except the last has a When.
	Event Event

	// From lists the states in which Event is legal. If it is empty, Event
	// creates the entity.
	From []State

	// To must not be None.
	To State

	// When is the condition for this branch; see the function [When]. The branches
	// of an event are tried in the order in which they are declared, and the first
	// whose condition holds is taken. The zero value always holds, so it is the
	// "otherwise" and must come last. If no condition holds, the record is refused.
	When Condition

	// Do computes the row's new data; see the function [Do]. The zero value changes
	// nothing.
	Do Action

	// After and AfterPeriod make the event happen by itself: once that time has passed
	// since the entity entered one of the states in From, if it has not left it since. To
	// leave the state ends the wait, also if the entity comes back: then a new one begins.
	// A transition from the state to itself does not leave it. If both are set, After is
	// added to AfterPeriod. Zero means that the event only comes from records.
	//
	// The event's functions must take struct{} as data. If an event has several branches
	// in a state, those that set a time must set the same one.
	After       time.Duration
	AfterPeriod Period

	// Clock says by which clock the wait begins: by default, the database's.
	Clock Clock
}

// Definition describes a state machine as data. [Compile] checks it. The zero
// value is invalid.
type Definition struct {
	// Name identifies the machine in history rows and errors. Required.
	Name string

	// Version must be at least 1. Increase it when anything of the definition
	// changes, the functions included.
	Version int

	// Revision stands for what the functions do, which can't be compared: a commit, for
	// example, or a word. It belongs to the content of the version; see [Outline].
	Revision string

	// Transitions also declares the states: a state exists if a transition
	// leads to it. At least one transition must have an empty From.
	Transitions []Transition

	// Terminal lists the states that an entity never leaves. It must list at
	// least one.
	Terminal []State

	// Migrations say what becomes of entities in states that earlier versions had and
	// this one does not.
	Migrations []Migration
}

// clone copies everything that the caller could still change.
func (d Definition) clone() Definition {
	d.Transitions = slices.Clone(d.Transitions)
	for i := range d.Transitions {
		d.Transitions[i].From = slices.Clone(d.Transitions[i].From)
	}
	d.Terminal = slices.Clone(d.Terminal)
	d.Migrations = slices.Clone(d.Migrations)
	for i := range d.Migrations {
		d.Migrations[i].From = slices.Clone(d.Migrations[i].From)
	}
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

// functions lists the types of the functions of t.
func (t Transition) functions() (all []types) {
	for _, fn := range []types{t.When.types, t.Do.types} {
		if fn.row != nil {
			all = append(all, fn)
		}
	}
	return all
}

// isUnconditional reports whether t is taken whenever it is tried.
func (t Transition) isUnconditional() bool { return t.When.row == nil }

// byArrow returns the transitions of each event from each state, in their order.
func (d Definition) byArrow() map[arrow][]Transition {
	all := make(map[arrow][]Transition)
	for _, t := range d.Transitions {
		for _, from := range t.sources() {
			all[arrow{from, t.Event}] = append(all[arrow{from, t.Event}], t)
		}
	}
	return all
}
