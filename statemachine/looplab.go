package statemachine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/looplab/fsm"
)

// fillTable fills the table by making each transition in looplab/fsm. The
// definition has been validated, so no second target can silently win.
func (m *Machine) fillTable() error {
	engine := fsm.NewFSM(string(None), eventDescs(m.def), nil)
	declared := m.def.byArrow()
	for s := range m.states {
		for e := range m.events {
			at := arrow{m.states[s], m.events[e]}
			to, err := m.fire(engine, at, 0)
			if err != nil {
				return err
			}
			m.at(s, e).to = to
			if err := m.attachBranches(engine, at, declared[at], m.at(s, e)); err != nil {
				return err
			}
		}
	}
	return nil
}

// setMigrations makes each migration in looplab/fsm, like the transitions.
func (m *Machine) setMigrations() error {
	if len(m.def.Migrations) == 0 {
		return nil
	}
	steps := m.def.migrations()
	m.retired = make(map[State]cell)
	engine := fsm.NewFSM(string(None), eventDescs(steps), nil)
	for at, declared := range steps.byArrow() {
		to, err := m.fire(engine, at, 0)
		if err != nil {
			return err
		}
		c := cell{to: to, class: Now}
		if err := m.attachBranches(engine, at, declared, &c); err != nil {
			return err
		}
		m.retired[at.from] = c
	}
	return nil
}

// attachBranches sets the branches of a cell if it has several or one with functions.
func (m *Machine) attachBranches(engine *fsm.FSM, at arrow, declared []Transition, c *cell) error {
	if len(declared) == 0 || len(declared) == 1 && len(declared[0].functions()) == 0 {
		return nil
	}
	branches := make([]Branch, len(declared))
	for i, t := range declared {
		to, err := m.fire(engine, at, i)
		if err != nil {
			return err
		}
		branches[i] = Branch{To: m.states[to], to: to, when: t.When, do: t.Do}
	}
	c.branches = uint32(len(m.branches))
	m.branches = append(m.branches, branches)
	return nil
}

// looplabEvent returns the name that looplab gets for a branch of an event, counted from
// 0. looplab knows one target for an event in a state, so each branch is another event to
// it. Names contain no NUL, so the new names are unique.
func looplabEvent(e Event, branch int) string {
	if branch == 0 {
		return string(e)
	}
	return string(e) + "\x00" + strconv.Itoa(branch)
}

// fire makes one transition and returns the index of the new state, or none if
// the event is not legal. It calls Can first: a refused Event scans all
// transitions to find the reason, which is slow.
func (m *Machine) fire(engine *fsm.FSM, at arrow, branch int) (uint16, error) {
	name := looplabEvent(at.event, branch)
	engine.SetState(string(at.from))
	if engine.Cannot(name) {
		return none, nil
	}
	// The context must not be canceled: that would leave the engine stuck.
	if err := translate(engine.Event(context.Background(), name)); err != nil {
		return none, fmt.Errorf("event %q in state %s: %w", at.event, stateText(at.from), err)
	}
	return uint16(m.rows[State(engine.Current())] / uint32(len(m.events))), nil
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
// transition out of the empty state. Branches get names of their own; see
// looplabEvent.
func eventDescs(d Definition) []fsm.EventDesc {
	var descs []fsm.EventDesc
	earlier := make(map[arrow]int)
	for _, t := range d.Transitions {
		at := make(map[int]int) // the index in descs, by branch
		for _, from := range t.sources() {
			branch := earlier[arrow{from, t.Event}]
			earlier[arrow{from, t.Event}]++
			if _, ok := at[branch]; !ok {
				at[branch] = len(descs)
				descs = append(descs, fsm.EventDesc{Name: looplabEvent(t.Event, branch), Dst: string(t.To)})
			}
			desc := &descs[at[branch]]
			desc.Src = append(desc.Src, string(from))
		}
	}
	return descs
}

// FSM returns a new looplab/fsm machine of the same definition, in the given
// state, for code that wants looplab's callbacks. None is the state before
// creation. The two machines share nothing. The functions When and Do are not
// included, because looplab knows neither the row nor the event's data.
//
// What looplab would silently ignore is an error: a *[Problem] with the reason
// ErrUnknownState, ErrUnknownCallback, ErrCallbackClash or ErrNilCallback. So is an
// event with several branches in one state: ErrBranches. Several problems are
// joined.
func (m *Machine) FSM(initial State, callbacks fsm.Callbacks) (*fsm.FSM, error) {
	isNil := make(map[string]bool, len(callbacks))
	for name, callback := range callbacks {
		isNil[name] = callback == nil
	}
	problems := m.checkCallbacks(isNil)
	problems = append(problems, m.severalTargets()...)
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

// severalTargets reports the events that have several branches in one state.
func (m *Machine) severalTargets() (problems []*Problem) {
	for at, branches := range m.def.byArrow() {
		if len(branches) > 1 {
			problems = append(problems, &Problem{
				Reason: ErrBranches, Transition: -1, Event: at.event, State: at.from,
				Targets: [2]State{branches[0].To, branches[1].To},
				Detail:  fmt.Sprintf("event %q has %d branches from %s, but looplab knows one target for an event in a state", at.event, len(branches), stateText(at.from)),
			})
		}
	}
	slices.SortFunc(problems, func(a, b *Problem) int { return cmp.Compare(a.Detail, b.Detail) })
	return problems
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
// initial state passed to fsm.NewFSM) and optionally its When and Do. A zero create
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
	if create.Event != "" || create.To != None || len(create.functions()) > 0 {
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
