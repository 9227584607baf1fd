package statemachine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// An Outline is what of a definition can be written down: everything but its functions, of
// which it has only the labels and where they are. It is made for encoding/json, so that it can
// be kept in a file or a database. [Machine.Outline] returns one, and [Compare] compares two.
type Outline struct {
	Name     string `json:"name"`
	Version  int    `json:"version"`
	Revision string `json:"revision,omitempty"`

	// States, Terminal and Retired are sorted.
	States   []State `json:"states"`
	Terminal []State `json:"terminal"`
	Retired  []State `json:"retired,omitempty"`

	// Arrows are sorted by state and event.
	Arrows []Arrow `json:"arrows"`
}

// An Arrow is one event in one state of an [Outline].
type Arrow struct {
	From  State `json:"from,omitempty"` // None if the event creates the entity
	Event Event `json:"event"`          // Migrated if From is retired

	// Targets are the branches, in the order in which they are tried.
	Targets []Target `json:"targets"`

	// After says in words when the event happens by itself; empty if it does not.
	After string `json:"after,omitempty"`
}

// A Target is a branch of an [Arrow].
type Target struct {
	To   State  `json:"to"`
	When string `json:"when,omitempty"` // the label of the condition
	Does bool   `json:"does,omitempty"` // there is an action
}

// Outline returns the machine's outline.
func (m *Machine) Outline() Outline {
	o := Outline{
		Name: m.def.Name, Version: m.def.Version, Revision: m.def.Revision,
		States:   slices.Sorted(slices.Values(m.def.states())),
		Terminal: slices.Sorted(slices.Values(m.def.Terminal)),
		Retired:  slices.Sorted(slices.Values(m.Retired())),
	}
	for _, d := range []Definition{m.def, m.def.migrations()} {
		for at, transitions := range d.byArrow() {
			o.Arrows = append(o.Arrows, arrowOf(at, transitions))
		}
	}
	slices.SortFunc(o.Arrows, func(a, b Arrow) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Event, b.Event)) })
	return o
}

func arrowOf(at arrow, transitions []Transition) Arrow {
	a := Arrow{From: at.from, Event: at.event}
	for _, t := range transitions {
		a.Targets = append(a.Targets, Target{t.To, t.When.label, t.Do.row != nil})
		if d, ok := t.deadline(); ok && a.After == "" {
			a.After = d.String()
			if d.Clock != DatabaseClock {
				a.After += " by the " + d.Clock.String() + "'s clock"
			}
		}
	}
	return a
}

// Hash returns a hash of the outline's content, without its version, in hexadecimal digits:
// two definitions with the same hash differ at most in their version, in what their functions
// do, and in the order in which they declare things.
func (o Outline) Hash() string {
	o.Version = 0
	text, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("statemachine: an outline has only strings and numbers: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// arrows returns the arrows of an outline by state and event.
func (o Outline) arrows() map[arrow]Arrow {
	all := make(map[arrow]Arrow, len(o.Arrows))
	for _, a := range o.Arrows {
		all[arrow{a.From, a.Event}] = a
	}
	return all
}

// events returns the events of an outline, without Migrated.
func (o Outline) events() map[Event]bool {
	all := make(map[Event]bool)
	for _, a := range o.Arrows {
		if a.Event != Migrated {
			all[a.Event] = true
		}
	}
	return all
}

// ending returns the states from which a path leads to a terminal state.
func (o Outline) ending() map[State]bool {
	backward := make(map[State][]State)
	for _, a := range o.Arrows {
		for _, t := range a.Targets {
			backward[t.To] = append(backward[t.To], a.From)
		}
	}
	return flood(backward, slices.Clone(o.Terminal))
}

// Knows reports whether s is a state of the outline or one that it retires.
func (o Outline) Knows(s State) bool {
	return slices.Contains(o.States, s) || slices.Contains(o.Retired, s)
}

// Leads reports whether e is legal in state s.
func (o Outline) Leads(s State, e Event) bool {
	_, ok := slices.BinarySearchFunc(o.Arrows, arrow{s, e}, func(a Arrow, b arrow) int {
		return cmp.Or(cmp.Compare(a.From, b.from), cmp.Compare(a.Event, b.event))
	})
	return ok
}

// Takes reports whether e is an event of the outline.
func (o Outline) Takes(e Event) bool {
	return slices.ContainsFunc(o.Arrows, func(a Arrow) bool { return a.Event == e && e != Migrated })
}
