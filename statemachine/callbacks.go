package statemachine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// moment identifies when looplab calls a callback: the occasion, and the state
// or event it is for. An empty target means all of them.
type moment struct {
	occasion string // a prefix of occasions
	target   string
}

// occasions lists the prefixes of callback names, each with the word that
// stands for all events or all states.
var occasions = []struct {
	prefix, general string
	ofEvents        bool
}{
	{"before_", "event", true},
	{"leave_", "state", false},
	{"enter_", "state", false},
	{"after_", "event", true},
}

// checkCallbacks reports, sorted by name, the callbacks that looplab would
// ignore, could not call or would choose between at random. isNil has the name
// of each callback, and whether it is nil.
func (m *Machine) checkCallbacks(isNil map[string]bool) []*Problem {
	var problems []*Problem
	report := func(reason error, name, suggestion, format string, args ...any) {
		problems = append(problems, &Problem{
			Reason: reason, Transition: -1, Name: name, Suggestion: suggestion,
			Detail: fmt.Sprintf("callback %q ", name) + fmt.Sprintf(format, args...),
		})
	}
	taken := make(map[moment]string)
	for _, name := range slices.Sorted(maps.Keys(isNil)) {
		when, ok := m.moment(name)
		switch other, clash := taken[when]; {
		case !ok:
			report(ErrUnknownCallback, name, nearest(name, m.callbackNames()), "names no event or state of machine %q, so looplab would never call it; correct the name", m.Name())
		case clash:
			report(ErrCallbackClash, name, "", "is called at the same time as %q and looplab keeps only one of them; remove one", other)
		case m.isEventAndState(name):
			report(ErrCallbackClash, name, "", "names both an event and a state; write after_%s or enter_%s", name, name)
		case isNil[name]:
			report(ErrNilCallback, name, "", "is nil and looplab would panic calling it; remove it or set a function")
		}
		if ok {
			taken[when] = name
		}
	}
	return problems
}

// moment parses a callback's name as looplab does. It returns false for a name
// that looplab would ignore.
func (m *Machine) moment(name string) (moment, bool) {
	for _, o := range occasions {
		target, ok := strings.CutPrefix(name, o.prefix)
		switch {
		case !ok:
			continue
		case target == o.general:
			return moment{o.prefix, ""}, true
		case o.ofEvents:
			return moment{o.prefix, target}, m.HasEvent(Event(target))
		default:
			return moment{o.prefix, target}, m.Has(State(target))
		}
	}
	if m.Has(State(name)) {
		return moment{"enter_", name}, true
	}
	return moment{"after_", name}, m.HasEvent(Event(name))
}

// isEventAndState reports whether name is a short form that could mean either.
func (m *Machine) isEventAndState(name string) bool {
	return m.Has(State(name)) && m.HasEvent(Event(name))
}

// callbackNames lists all long forms and all short forms.
func (m *Machine) callbackNames() []string {
	var names []string
	for _, o := range occasions {
		names = append(names, o.prefix+o.general)
		for _, e := range m.events {
			if o.ofEvents {
				names = append(names, o.prefix+string(e))
			}
		}
		for _, s := range m.States() {
			if !o.ofEvents {
				names = append(names, o.prefix+string(s))
			}
		}
	}
	for _, e := range m.events {
		names = append(names, string(e))
	}
	for _, s := range m.States() {
		names = append(names, string(s))
	}
	return names
}
