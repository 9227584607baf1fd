package statemachine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/looplab/fsm"
)

// askLooplab fills the table in: looplab/fsm decides each transition, by making
// it. The definition is valid by now, so that no second target can win silently.
func (m *Machine) askLooplab() error {
	engine := fsm.NewFSM(string(None), eventDescs(m.def), nil)
	for s := range m.states {
		for e := range m.events {
			to, err := fire(engine, m.states[s], m.events[e])
			if err != nil {
				return err
			}
			m.at(s, e).to = uint16(m.rows[to] / uint32(len(m.events)))
		}
	}
	return nil
}

// fire makes one transition and returns where it led, None if it is not legal.
// It asks first, because looplab goes through all its transitions in order to
// name the reason of a refusal.
func fire(engine *fsm.FSM, from State, e Event) (State, error) {
	engine.SetState(string(from))
	if engine.Cannot(string(e)) {
		return None, nil
	}
	// The context cannot be cancelled: that would leave the engine stuck.
	if err := translate(engine.Event(context.Background(), string(e))); err != nil {
		return None, fmt.Errorf("event %q in state %s: %w", e, shown(from), err)
	}
	return State(engine.Current()), nil
}

// translate turns looplab's answer to a legal event into this package's terms:
// nil when the transition was made. A self-transition is one that was made.
func translate(err error) error {
	var stays fsm.NoTransitionError
	if err == nil || errors.As(err, &stays) && stays.Err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrEngine, err)
}

// eventDescs writes a definition as a looplab event list. Creation is a
// transition out of the empty state.
func eventDescs(d Definition) []fsm.EventDesc {
	descs := make([]fsm.EventDesc, len(d.Transitions))
	for i, t := range d.Transitions {
		descs[i] = fsm.EventDesc{Name: string(t.Event), Dst: string(t.To)}
		for _, from := range t.sources() {
			descs[i].Src = append(descs[i].Src, string(from))
		}
	}
	return descs
}

// FSM returns a new looplab/fsm machine of the same definition, in the given
// state, for those who want its callbacks. None is the state before creation.
// The two share nothing, and guards are not carried over: looplab does not know
// the record that they decide on.
//
// What looplab would pass over in silence is an error, a *[Problem] with the
// reason ErrUnknownState, ErrUnknownCallback, ErrCallbackClash or
// ErrNilCallback; all of them are joined.
func (m *Machine) FSM(initial State, callbacks fsm.Callbacks) (*fsm.FSM, error) {
	problems := m.checkCallbacks(callbacks)
	if initial != None && !m.Has(initial) {
		problems = append(problems, &Problem{
			Reason: ErrUnknownState, Transition: -1, State: initial,
			Suggestion: string(nearest(initial, m.states)),
			Detail:     fmt.Sprintf("machine %q has no state %q to begin in", m.Name(), initial),
		})
	}
	if len(problems) > 0 {
		return nil, joined(problems)
	}
	return fsm.NewFSM(string(initial), eventDescs(m.def), leavingOnce(callbacks)), nil
}

// leavingOnce makes up for a trap: looplab looks up the callback of the state it
// leaves, then the general one, and the state None has the key of the general
// one, so that creation would call leave_state twice.
func leavingOnce(callbacks fsm.Callbacks) fsm.Callbacks {
	leave, ok := callbacks["leave_state"]
	if !ok {
		return callbacks
	}
	var seen *fsm.Event // looplab holds its event lock while it calls
	wrapped := make(fsm.Callbacks, len(callbacks))
	maps.Copy(wrapped, callbacks)
	wrapped["leave_state"] = func(ctx context.Context, e *fsm.Event) {
		if e == seen {
			seen = nil
			return
		}
		if e.Src == string(None) {
			seen = e
		}
		leave(ctx, e)
	}
	return wrapped
}

// FromLooplab turns a looplab event list into a [Definition], which [Compile]
// then checks like any other; a second target, which looplab would let win
// silently, is refused there.
//
// looplab has no creation: a machine just begins in some state. Here an event
// creates the entity, and create declares it: its Event, its To (the initial
// state that was given to fsm.NewFSM) and, if you like, its Guard. A zero create
// adds nothing; then the list must have a creating event of its own, one whose
// Src contains "".
//
// terminal lists the states that an entity never leaves, as in
// Definition.Terminal.
//
// The error joins *[Problem] values: ErrNoSource for an event without Src, which
// looplab would ignore and which must not become a creating one by accident, and
// ErrCreationSource if create has a From.
func FromLooplab(name string, version int, events []fsm.EventDesc, create Transition, terminal ...State) (Definition, error) {
	d := Definition{Name: name, Version: version, Terminal: slices.Clone(terminal)}
	var problems []*Problem
	if len(create.From) > 0 {
		problems = append(problems, &Problem{
			Reason: ErrCreationSource, Transition: -1, Event: create.Event, State: create.From[0],
			Detail: fmt.Sprintf("event %q is to create the entity, so it cannot leave state %q; leave From empty", create.Event, create.From[0]),
		})
	}
	if create.Event != "" || create.To != None || create.Guard != nil {
		d.Transitions = append(d.Transitions, create)
	}
	for i, desc := range events {
		if len(desc.Src) == 0 {
			problems = append(problems, &Problem{
				Reason: ErrNoSource, Transition: i, Event: Event(desc.Name),
				Detail: `Src is empty, so looplab would never make this transition; list its source states, "" for creation`,
			})
		}
		d.Transitions = append(d.Transitions, transitions(desc)...)
	}
	if len(problems) > 0 {
		return Definition{}, joined(problems)
	}
	return d, nil
}

// transitions makes one transition of a looplab event, or two where it both
// creates and moves entities.
func transitions(desc fsm.EventDesc) []Transition {
	event, to := Event(desc.Name), State(desc.Dst)
	var from []State
	var made []Transition
	for _, src := range desc.Src {
		if State(src) == None {
			made = append(made, Transition{Event: event, To: to})
			continue
		}
		from = append(from, State(src))
	}
	if len(from) > 0 {
		made = append(made, Transition{Event: event, From: from, To: to})
	}
	return made
}

// joined makes one error of several problems.
func joined(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
