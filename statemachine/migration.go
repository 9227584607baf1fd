package statemachine

import (
	"fmt"
	"reflect"
	"slices"
)

// reserved begins the names of the events that the framework makes itself.
const reserved = "pawl."

// Migrated is the [Event] of the step that moves an entity out of a retired state. No record can
// have it. It has no type, so that switches over your own events need no case for it.
const Migrated = reserved + "migrated"

// A Migration moves entities out of states that earlier versions of the definition had. Such a
// state is retired: no transition may mention it. A record about an entity in a retired state
// is parked until the entity has moved.
//
// That a state is renamed is a Migration with one From. That a state is split is several
// Migrations with the same From, each but the last one with a When.
type Migration struct {
	// From lists retired states. It must list at least one.
	From []State

	// To must be a state that a transition leads to.
	To State

	// When and Do are as in a [Transition], and take struct{} as the event's data.
	When Condition
	Do   Action
}

// transition returns the migration as a transition.
func (g Migration) transition() Transition {
	return Transition{Event: Migrated, From: g.From, To: g.To, When: g.When, Do: g.Do}
}

// migrations returns a definition whose transitions are the migrations.
func (d Definition) migrations() Definition {
	steps := Definition{Name: d.Name, Version: d.Version}
	for _, g := range d.Migrations {
		steps.Transitions = append(steps.Transitions, g.transition())
	}
	return steps
}

// retiredCell returns the cell of an event in a retired state, or the zero cell if the machine
// does not know one of them.
func (m *Machine) retiredCell(from State, e Event) cell {
	c, ok := m.retired[from]
	switch {
	case !ok:
		return cell{}
	case e == Migrated:
		return c
	case m.HasEvent(e):
		return cell{class: Later}
	}
	return cell{}
}

// checkMigrations checks the migrations.
func (v *validator) checkMigrations() {
	always := make(map[State]bool)
	for i, g := range v.def.Migrations {
		report := func(s State, format string, args ...any) {
			v.report(Problem{Reason: ErrMigration, State: s}, "migration %d: %s", i, fmt.Sprintf(format, args...))
		}
		if len(g.From) == 0 {
			report(None, "From is empty; list the retired states that it empties")
		}
		if !slices.Contains(v.declared, g.To) {
			report(g.To, "To is %s, to which no transition leads; correct the name", stateText(g.To))
		}
		for _, s := range g.From {
			switch {
			case s == None:
				report(s, "From lists None; only entities that exist can be migrated")
			case slices.Contains(v.states, s):
				report(s, "state %q is not retired, because a transition or Terminal mentions it; give the new state another name", s)
			case always[s]:
				report(s, "an earlier one always moves entities in state %q; give all but the last a When", s)
			}
			if len(string(s)) > MaxNameBytes {
				report(s, "state %.40q... is too long", s)
			}
			always[s] = always[s] || g.transition().isUnconditional()
		}
	}
}

// checkMigrationTypes checks the functions of the migrations. row is the type of the rows of
// the transitions' functions, or nil.
func (v *validator) checkMigrationTypes(row reflect.Type) {
	for i, g := range v.def.Migrations {
		if g.When.row != nil && (g.When.holds == nil || g.When.label == "") || g.Do.row != nil && g.Do.run == nil {
			v.report(Problem{Reason: ErrMigration}, "migration %d: When needs a label and a function, and Do a function", i)
		}
		for _, fn := range g.transition().functions() {
			switch {
			case fn.row.Kind() != reflect.Struct || row != nil && fn.row != row:
				v.report(Problem{Reason: ErrMigration, Types: [2]reflect.Type{row, fn.row}},
					"migration %d: the function takes a row of type %v; use the row type of the machine's functions", i, fn.row)
			case !takesNothing(fn.event):
				v.report(Problem{Reason: ErrMigration, Types: [2]reflect.Type{fn.event}},
					"migration %d: the function takes data of type %v, but a migration has none; take struct{}", i, fn.event)
			}
			row = fn.row
		}
	}
}
