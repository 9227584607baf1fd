package statemachine

import "reflect"

// checkDeadlines checks the deadlines of all transitions.
func (v *validator) checkDeadlines() {
	declared := make(map[arrow]Deadline)
	for i, t := range v.def.Transitions {
		d, ok := t.deadline()
		if !ok {
			if t.Clock != DatabaseClock {
				v.badDeadline(i, None, "Clock is set, but neither After nor AfterPeriod; set one of them, or leave Clock out")
			}
			continue
		}
		switch p := t.AfterPeriod; {
		case len(t.From) == 0:
			v.badDeadline(i, None, "the transition creates the entity, so nothing can happen to the entity before it; list states in From, or leave After out")
			continue
		case t.After < 0 || p.Years < 0 || p.Months < 0 || p.Days < 0:
			v.badDeadline(i, None, "the time is negative; the event can happen only after the entity has entered the state")
		case t.Clock > RecordClock:
			v.badDeadline(i, None, "Clock %d is unknown; use DatabaseClock or RecordClock", t.Clock)
		}
		if data := v.def.dataOf(t.Event); data != nil && !takesNothing(data) {
			v.badDeadline(i, None, "the event's functions take data of type %v, but a timer has none; take struct{}", data)
		}
		for _, from := range t.From {
			first, ok := declared[arrow{from, t.Event}]
			if ok && !first.same(d) {
				v.badDeadline(i, from, "the event happens %s after the entity enters %q, but another branch says %s; use the same time for all branches", d.String(), from, first.String())
			}
			declared[arrow{from, t.Event}] = d
		}
	}
}

func (v *validator) badDeadline(i int, s State, format string, args ...any) {
	v.reportAt(i, Problem{Reason: ErrDeadline, State: s}, format, args...)
}

// dataOf returns the type of the data that the functions of an event take, or nil if it has
// none. If they differ, which is another problem, it returns the first one.
func (d Definition) dataOf(e Event) reflect.Type {
	for _, t := range d.Transitions {
		if all := t.functions(); t.Event == e && len(all) > 0 {
			return all[0].event
		}
	}
	return nil
}

// takesNothing reports whether functions with event data of a type can do without data.
func takesNothing(event reflect.Type) bool { return event == reflect.TypeFor[struct{}]() }

// TakesNoData reports whether e can happen without data: it is an event of the machine, and
// its functions, if it has any, take struct{}.
func (m *Machine) TakesNoData(e Event) bool {
	t := m.EventType(e)
	return m.HasEvent(e) && (t == nil || takesNothing(t))
}
