package statemachine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/looplab/fsm"
)

// fillTable fills the table by making each transition in looplab/fsm. The
// definition has been validated, so no second target can silently win.
func (m *Machine) fillTable() error {
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

// fire makes one transition and returns the new state, or None if the event is
// not legal. It calls Can first: a refused Event scans all transitions to find
// the reason, which is slow.
func fire(engine *fsm.FSM, from State, e Event) (State, error) {
	engine.SetState(string(from))
	if engine.Cannot(string(e)) {
		return None, nil
	}
	// The context must not be canceled: that would leave the engine stuck.
	if err := translate(engine.Event(context.Background(), string(e))); err != nil {
		return None, fmt.Errorf("event %q in state %s: %w", e, stateText(from), err)
	}
	return State(engine.Current()), nil
}

// translate converts looplab's error for a legal event: nil if the transition
// was made, which includes self-transitions.
func translate(err error) error {
	var stays fsm.NoTransitionError
	if err == nil || errors.As(err, &stays) && stays.Err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrEngine, err)
}

// eventDescs converts a definition to a looplab event list. Creation is a
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
// state, for code that wants looplab's callbacks. None is the state before
// creation. The two machines share nothing. Guards are not included, because
// looplab does not know the record that a guard decides on.
//
// What looplab would silently ignore is an error: a *[Problem] with the reason
// ErrUnknownState, ErrUnknownCallback, ErrCallbackClash or ErrNilCallback.
// Several problems are joined.
func (m *Machine) FSM(initial State, callbacks fsm.Callbacks) (*fsm.FSM, error) {
	isNil := make(map[string]bool, len(callbacks))
	for name, callback := range callbacks {
		isNil[name] = callback == nil
	}
	problems := m.checkCallbacks(isNil)
	if initial != None && !m.Has(initial) {
		problems = append(problems, &Problem{
			Reason: ErrUnknownState, Transition: -1, State: initial,
			Suggestion: string(nearest(initial, m.states)),
			Detail:     fmt.Sprintf("machine %q has no state %q to start in", m.Name(), initial),
		})
	}
	if len(problems) > 0 {
		return nil, joined(problems)
	}
	return fsm.NewFSM(string(initial), eventDescs(m.def), leavingOnce(callbacks)), nil
}

// leavingOnce keeps looplab from calling leave_state twice on creation. looplab
// looks up the callback of the state it leaves and then the general one; for
// the state None both have the same key.
func leavingOnce(callbacks fsm.Callbacks) fsm.Callbacks {
	leave, ok := callbacks["leave_state"]
	if !ok {
		return callbacks
	}
	var seen *fsm.Event // looplab holds its event lock during the call
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

// FromLooplab converts a looplab event list to a [Definition]. [Compile] checks
// it like any other, so it rejects a second target, which looplab would
// silently let win.
//
// looplab has no creation: its machines simply start in some state. Here an
// event creates the entity, and create declares it: its Event, its To (the
// initial state passed to fsm.NewFSM) and optionally its Guard. A zero create
// adds nothing; then the list must contain a creating event, with "" in its
// Src.
//
// terminal lists the states that an entity never leaves, as in
// Definition.Terminal.
//
// The error joins *[Problem] values: ErrNoSource for an event without Src,
// which looplab would ignore and which must not become a creating event by
// accident, and ErrCreationSource if create has a From.
func FromLooplab(name string, version int, events []fsm.EventDesc, create Transition, terminal ...State) (Definition, error) {
	d := Definition{Name: name, Version: version, Terminal: slices.Clone(terminal)}
	var problems []*Problem
	if len(create.From) > 0 {
		problems = append(problems, &Problem{
			Reason: ErrCreationSource, Transition: -1, Event: create.Event, State: create.From[0],
			Detail: fmt.Sprintf("event %q creates the entity, so it cannot leave state %q; leave From empty", create.Event, create.From[0]),
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

// transitions converts one looplab event to one transition, or to two if it
// both creates and moves entities.
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

// joined joins several problems into one error.
func joined(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
