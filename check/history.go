package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A History is what became of the steps of the last entities, folded through the new definition.
type History struct {
	Entities int64 `json:"entities"`
	Steps    int64 `json:"steps"`

	// Dependent are the steps for which the new definition has several branches. Their conditions
	// depend on data that the history does not have, so the state to which the step led counts,
	// if one of the branches leads there.
	Dependent int64 `json:"dependent"`

	// Elsewhere are the entities that would have ended in another state, and Detours those that
	// would have come to the same state in another way.
	Elsewhere int64 `json:"elsewhere"`
	Detours   int64 `json:"detours"`

	// Divergences are the first steps with another outcome, the most frequent one first.
	Divergences []Divergence `json:"divergences,omitempty"`
}

// A Divergence is a step that has another outcome with the new definition.
type Divergence struct {
	State statemachine.State `json:"state,omitempty"` // before the step, with the new definition
	Event statemachine.Event `json:"event"`
	To    statemachine.State `json:"to"` // to which the step led

	// Targets are the states to which the step leads with the new definition, empty if the event
	// is not legal.
	Targets []statemachine.State `json:"targets,omitempty"`

	Entities  int64    `json:"entities"`  // that have diverged here first
	Elsewhere int64    `json:"elsewhere"` // those of them that would have ended elsewhere
	Keys      []string `json:"keys"`      // of some of them
	Version   int64    `json:"version"`   // of the first of them after the step
}

const sampleKeys = 3

func (h *History) write(line func(label, format string, args ...any)) {
	line("history", "%d entities with %d steps, of which %d depend on data: %d entities would have ended elsewhere, %d in the same state in another way",
		h.Entities, h.Steps, h.Dependent, h.Elsewhere, h.Detours)
	for _, d := range h.Divergences {
		line("", "%d entities (%d ended elsewhere), such as %s at version %d: %s", d.Entities, d.Elsewhere, strings.Join(d.Keys, ", "), d.Version, d.text())
	}
}

func (d *Divergence) text() string {
	in := fmt.Sprintf("in state %q", d.State)
	if d.State == statemachine.None {
		in = "without an entity"
	}
	if len(d.Targets) == 0 {
		return fmt.Sprintf("%q is not legal %s, and led to %q", d.Event, in, d.To)
	}
	targets := make([]string, len(d.Targets))
	for i, s := range d.Targets {
		targets[i] = fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q %s leads to %s, and led to %q", d.Event, in, strings.Join(targets, " or "), d.To)
}

// A fold takes the steps of one entity after the other.
type fold struct {
	History

	machine *statemachine.Machine
	targets map[arrow][]statemachine.State // nil if the event is not legal
	renamed map[statemachine.State][]statemachine.State
	found   map[place]*Divergence

	key      string
	state    statemachine.State // of the current entity, with the new definition
	recorded statemachine.State
	first    *Divergence // of the current entity
}

type arrow struct {
	from  statemachine.State
	event statemachine.Event
}

// A place tells divergences apart.
type place struct {
	arrow

	to statemachine.State
}

func newFold(m *statemachine.Machine) *fold {
	f := &fold{
		machine: m, targets: make(map[arrow][]statemachine.State), found: make(map[place]*Divergence),
		renamed: make(map[statemachine.State][]statemachine.State),
	}
	for _, s := range m.Retired() {
		f.renamed[s] = f.leads(arrow{s, statemachine.Migrated})
	}
	return f
}

// leads returns the states to which an event can lead.
func (f *fold) leads(at arrow) []statemachine.State {
	if known, ok := f.targets[at]; ok {
		return known
	}
	var targets []statemachine.State
	if to, ok := f.machine.Fire(at.from, at.event); ok {
		targets = []statemachine.State{to}
		for _, b := range f.machine.Branches(at.from, at.event) {
			if !slices.Contains(targets, b.To) {
				targets = append(targets, b.To)
			}
		}
	}
	f.targets[at] = targets
	return targets
}

// isSame reports whether a state of the new definition is the recorded one, or one to which its
// entities are migrated.
func (f *fold) isSame(state, recorded statemachine.State) bool {
	return state == recorded || len(f.renamed) > 0 && slices.Contains(f.renamed[recorded], state)
}

// step takes the next step. Its error is nil.
func (f *fold) step(s *postgres.HistoryStep) error {
	f.Steps++
	if s.Key != f.key || f.Entities == 0 {
		f.finish()
		f.Entities++
		f.key, f.first = s.Key, nil
		f.recorded = statemachine.None
		f.state = f.recorded
	}
	if s.From != f.recorded { // another writer has set the state, or older steps were removed
		f.state = f.current(s.From)
	}
	f.recorded = s.To
	targets := f.leads(arrow{f.state, s.Event})
	was := f.state
	switch {
	case s.Event == statemachine.Migrated && len(targets) == 0: // the new definition may lead there without it
		if f.isSame(f.state, s.To) {
			return nil
		}
	case len(targets) == 1:
		f.state = targets[0]
	case len(targets) > 1:
		f.Dependent++
		i := slices.IndexFunc(targets, func(to statemachine.State) bool { return f.isSame(to, s.To) })
		f.state = targets[max(i, 0)]
	}
	if f.first == nil && (len(targets) == 0 || !f.isSame(f.state, s.To)) {
		f.diverge(was, s, targets)
	}
	return nil
}

// current returns the state of the new definition for a recorded one.
func (f *fold) current(recorded statemachine.State) statemachine.State {
	if to := f.renamed[recorded]; len(to) > 0 {
		return to[0]
	}
	return recorded
}

// diverge counts the current entity's first divergence.
func (f *fold) diverge(was statemachine.State, s *postgres.HistoryStep, targets []statemachine.State) {
	at := place{arrow{was, s.Event}, s.To}
	d, ok := f.found[at]
	if !ok {
		d = &Divergence{State: was, Event: s.Event, To: s.To, Targets: targets, Version: s.Version}
		f.found[at] = d
	}
	d.Entities++
	if len(d.Keys) < sampleKeys {
		d.Keys = append(d.Keys, s.Key)
	}
	f.first = d
}

// finish counts how the current entity has ended.
func (f *fold) finish() {
	switch {
	case f.first == nil:
	case f.isSame(f.state, f.recorded):
		f.Detours++
	default:
		f.Elsewhere++
		f.first.Elsewhere++
	}
}

// end returns the result.
func (f *fold) end() *History {
	f.finish()
	for _, d := range slices.SortedFunc(maps.Values(f.found), func(a, b *Divergence) int {
		return cmp.Or(cmp.Compare(b.Entities, a.Entities), cmp.Compare(a.State, b.State), cmp.Compare(a.Event, b.Event), cmp.Compare(a.To, b.To))
	}) {
		f.Divergences = append(f.Divergences, *d)
	}
	return &f.History
}
