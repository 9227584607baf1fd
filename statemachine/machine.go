package statemachine

import (
	"reflect"
	"slices"
)

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

	// branches holds the branches of each cell that has functions or several
	// transitions. branches[0] is empty.
	branches [][]Branch

	// retired has the cell of Migrated for each state that only Migrations mention.
	retired map[State]cell

	rowType    reflect.Type           // nil if no transition has a function
	eventTypes map[Event]reflect.Type // of the events that have functions
	deadlines  map[State][]Deadline

	onceOnly []bool // by event: condition 1 of state identity holds
	skipped  []bool // by event: condition 2 fails in some state
}

// none is the index of None in Machine.states.
const none = 0

// cell describes one event in one state.
type cell struct {
	to    uint16 // index of the target state, or of the first branch's; none = not legal, because nothing leads to None
	class Class

	// branches is an index of Machine.branches. 0 = the cell has at most one
	// transition, and that has no functions.
	branches uint32
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
		branches: make([][]Branch, 1),
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
		return m.retiredCell(from, e)
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
// not know the state or the event, Fire returns None and false. Fire calls no
// functions: if the event has several branches, it returns the state of the first
// one; see [Machine.Branches].
func (m *Machine) Fire(from State, e Event) (to State, ok bool) {
	c := m.cell(from, e)
	return m.states[c.to], c.to != none
}

// Branches returns the branches that e can take from state from, in the order in
// which their conditions are to be tried, if there are several of them or one has a
// function. It returns nil if Fire alone decides. The caller must not change the
// slice.
func (m *Machine) Branches(from State, e Event) []Branch { return m.branches[m.cell(from, e).branches] }

// RowType returns the type of the rows that the machine's functions take, or nil if
// no transition has a function.
func (m *Machine) RowType() reflect.Type { return m.rowType }

// EventType returns the type of the data that the functions of event e take, or nil if
// none of its transitions has a function.
func (m *Machine) EventType(e Event) reflect.Type { return m.eventTypes[e] }

// Classify returns what e means to an entity in state from. It returns Unknown
// if the machine does not know the state or the event. It knows None.
func (m *Machine) Classify(from State, e Event) Class { return m.cell(from, e).class }

// Retired returns the states that only the definition's Migrations mention, in order of first
// mention. An entity in such a state waits until it is migrated.
func (m *Machine) Retired() []State {
	var all []State
	for _, g := range m.def.Migrations {
		all = append(all, g.From...)
	}
	return distinct(all)
}

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
