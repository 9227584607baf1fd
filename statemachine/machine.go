package statemachine

import "slices"

// Machine is a compiled [Definition]: a table with constant-time lookups. It is
// immutable, so all methods are safe for concurrent use. [Compile] returns
// machines; the zero value and nil are not usable.
type Machine struct {
	def Definition

	states   []State // states[none] is None
	events   []Event
	terminal map[State]bool

	// cells holds one row of len(events) cells per state. The cell of a state
	// and an event is at rows[state] + columns[event].
	cells   []cell
	rows    map[State]uint32
	columns map[Event]uint32

	onceOnly []bool // by event: condition 1 of state identity holds
	skipped  []bool // by event: condition 2 fails in some state
}

// none is the index of None in Machine.states.
const none = 0

// cell describes one event in one state.
type cell struct {
	to    uint16 // index of the target state; none = not legal, because nothing leads to None
	class Class
	guard uint32 // 1 + the index of the transition whose guard applies; 0 = no guard
}

// newMachine numbers the states and events of d. All cells are empty.
func newMachine(d Definition) *Machine {
	m := &Machine{
		def:      d,
		states:   append([]State{None}, d.states()...),
		events:   d.events(),
		terminal: make(map[State]bool),
		rows:     make(map[State]uint32),
		columns:  make(map[Event]uint32),
	}
	for i, s := range m.states {
		m.rows[s] = uint32(i * len(m.events))
	}
	for i, e := range m.events {
		m.columns[e] = uint32(i)
	}
	for _, s := range d.Terminal {
		m.terminal[s] = true
	}
	m.cells = make([]cell, len(m.states)*len(m.events))
	return m
}

// cell returns the zero cell if the machine does not know the state or the
// event.
func (m *Machine) cell(from State, e Event) cell {
	row, ok := m.rows[from]
	if !ok {
		return cell{}
	}
	column, ok := m.columns[e]
	if !ok {
		return cell{}
	}
	return m.cells[row+column]
}

// at returns the cell of the state and the event with these indices.
func (m *Machine) at(state, event int) *cell {
	return &m.cells[state*len(m.events)+event]
}

// Fire returns the state that e leads to from state from, and whether e is
// legal there. Fire(None, e) is the creation of an entity. If the machine does
// not know the state or the event, Fire returns None and false. Fire does not
// call guards; see [Machine.Guard].
func (m *Machine) Fire(from State, e Event) (to State, ok bool) {
	c := m.cell(from, e)
	return m.states[c.to], c.to != none
}

// Guard returns the guard of the transition that e makes from state from, or
// nil if there is none or e is not legal there.
func (m *Machine) Guard(from State, e Event) Guard {
	c := m.cell(from, e)
	if c.guard == 0 {
		return nil
	}
	return m.def.Transitions[c.guard-1].Guard
}

// Classify returns what e means to an entity in state from. It returns Unknown
// if the machine does not know the state or the event. It knows None.
func (m *Machine) Classify(from State, e Event) Class { return m.cell(from, e).class }

// Name returns the name of the definition.
func (m *Machine) Name() string { return m.def.Name }

// Version returns the version of the definition.
func (m *Machine) Version() int { return m.def.Version }

// Definition returns a copy of the machine's definition.
func (m *Machine) Definition() Definition { return m.def.clone() }

// States returns all states except None, in order of first mention.
func (m *Machine) States() []State { return slices.Clone(m.states[none+1:]) }

// Events returns all events, in order of first mention.
func (m *Machine) Events() []Event { return slices.Clone(m.events) }

// Creating returns the events that create an entity, in order of first mention.
// There is at least one.
func (m *Machine) Creating() []Event {
	var creating []Event
	for i, e := range m.events {
		if m.at(none, i).to != none {
			creating = append(creating, e)
		}
	}
	return creating
}

// Has reports whether s is a state of this machine. It is false for None, which
// no row can be in.
func (m *Machine) Has(s State) bool {
	_, ok := m.rows[s]
	return ok && s != None
}

// HasEvent reports whether e is an event of this machine.
func (m *Machine) HasEvent(e Event) bool {
	_, ok := m.columns[e]
	return ok
}

// NearestEvent returns the event of this machine that e was most likely meant to be, or
// "" if none is close. For an event of the machine it returns the nearest other one.
func (m *Machine) NearestEvent(e Event) Event {
	if len(e) > MaxNameBytes { // it could be of any length
		return ""
	}
	return nearest(e, m.events)
}

// IsTerminal reports whether an entity never leaves state s. It is false for a
// state that the machine does not know.
func (m *Machine) IsTerminal(s State) bool { return m.terminal[s] }

// OnceOnly reports whether e is an event of this machine that no path takes
// twice.
func (m *Machine) OnceOnly(e Event) bool {
	column, ok := m.columns[e]
	return ok && m.onceOnly[column]
}
