package statemachine

import (
	"reflect"
)

// typeChecker finds functions whose types do not agree.
type typeChecker struct {
	row      reflect.Type // of the first function
	rowAt    int          // its transition
	events   map[Event]reflect.Type
	eventsAt map[Event]int
}

// checkFunctions checks the functions of all transitions.
func (v *validator) checkFunctions() {
	seen := typeChecker{events: make(map[Event]reflect.Type), eventsAt: make(map[Event]int)}
	for i, t := range v.def.Transitions {
		if t.When.row != nil && t.When.label == "" {
			v.reportAt(i, Problem{Reason: ErrNoLabel}, "the condition has no label; pass When a few words for the diagram")
		}
		if t.When.row != nil && t.When.holds == nil || t.Do.row != nil && t.Do.run == nil {
			v.reportAt(i, Problem{Reason: ErrNilFunction}, "When or Do was called with nil; pass a function, or leave the field out")
		}
		for _, fn := range t.functions() {
			v.checkTypes(i, fn, &seen)
		}
	}
	v.checkMigrationTypes(seen.row)
}

// checkTypes checks one function of transition i.
func (v *validator) checkTypes(i int, fn types, seen *typeChecker) {
	event := v.def.Transitions[i].Event
	switch {
	case fn.row.Kind() != reflect.Struct:
		v.reportAt(i, Problem{Reason: ErrRowType, Types: [2]reflect.Type{fn.row}},
			"the function takes a row of type %v; use a struct whose fields have db tags", fn.row)
	case seen.row == nil:
		seen.row, seen.rowAt = fn.row, i
	case fn.row != seen.row:
		v.reportAt(i, Problem{Reason: ErrTwoRowTypes, Types: [2]reflect.Type{seen.row, fn.row}},
			"the function takes a row of type %v, but that of transition %d takes %v; use one type for all functions of the machine", fn.row, seen.rowAt, seen.row)
	}
	other, ok := seen.events[event]
	switch {
	case fn.event.Kind() == reflect.Interface:
		v.reportAt(i, Problem{Reason: ErrEventType, Types: [2]reflect.Type{fn.event}},
			"the function takes event data of the interface type %v; use the type that the data really has", fn.event)
	case !ok:
		seen.events[event], seen.eventsAt[event] = fn.event, i
	case fn.event != other:
		v.reportAt(i, Problem{Reason: ErrTwoEventTypes, Types: [2]reflect.Type{other, fn.event}},
			"the function takes event data of type %v, but that of transition %d takes %v; use one type for all functions of the event", fn.event, seen.eventsAt[event], other)
	}
}
