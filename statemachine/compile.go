package statemachine

import (
	"errors"
	"reflect"
)

// Compile checks d and compiles it into a [Machine]. It copies d, so the caller
// may change d afterwards.
//
// The error is a *[DefinitionError] that lists every problem as a *[Problem]. A
// misspelt state is reported once: the reachability checks use the state that
// was probably meant.
func Compile(d Definition) (*Machine, error) {
	d = d.clone()
	if err := validate(d); err != nil {
		return nil, err
	}
	m := newMachine(d)
	if err := errors.Join(m.fillTable(), m.setMigrations()); err != nil {
		return nil, err
	}
	m.collectTypes()
	m.setDeadlines()
	g := newGraph(m)
	m.classify(g)
	m.checkIdentity(g)
	return m, nil
}

// MustCompile is [Compile] for package variables; it panics with the error.
func MustCompile(d Definition) *Machine {
	m, err := Compile(d)
	if err != nil {
		panic(err)
	}
	return m
}

// collectTypes sets the types that the functions take, which validate has checked.
func (m *Machine) collectTypes() {
	m.eventTypes = make(map[Event]reflect.Type)
	for _, t := range m.def.Transitions {
		for _, fn := range t.functions() {
			m.rowType, m.eventTypes[t.Event] = fn.row, fn.event
		}
	}
	for _, g := range m.def.Migrations {
		for _, fn := range g.transition().functions() {
			m.rowType = fn.row
		}
	}
}

// classify sets the class of every cell.
func (m *Machine) classify(g *graph) {
	for s := range m.states {
		for e := range m.events {
			m.at(s, e).class = g.class(uint16(s), uint16(e))
		}
	}
}
