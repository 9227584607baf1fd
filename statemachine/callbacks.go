package statemachine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/looplab/fsm"
)

// moment is when looplab calls a callback: at which kind of occasion, and for
// which state or event (empty: for all of them).
type moment struct {
	occasion string // a prefix of occasions
	target   string
}

// occasions are the prefixes of callback names, each with the word that stands
// for all events or all states.
var occasions = []struct {
	prefix, general string
	ofEvents        bool
}{
	{"before_", "event", true},
	{"leave_", "state", false},
	{"enter_", "state", false},
	{"after_", "event", true},
}

// checkCallbacks reports, in the order of their names, the callbacks that
// looplab would ignore, could not call or would choose from at random.
func (m *Machine) checkCallbacks(callbacks fsm.Callbacks) []*Problem {
	var problems []*Problem
	report := func(reason error, name, suggestion, format string, args ...any) {
		problems = append(problems, &Problem{
			Reason: reason, Transition: -1, Name: name, Suggestion: suggestion,
			Detail: fmt.Sprintf("callback %q ", name) + fmt.Sprintf(format, args...),
		})
	}
	taken := make(map[moment]string)
	for _, name := range slices.Sorted(maps.Keys(callbacks)) {
		when, ok := m.moment(name)
		switch other, clash := taken[when]; {
		case !ok:
			report(ErrUnknownCallback, name, nearest(name, m.callbackNames()), "names no event or state of machine %q, so looplab would never call it", m.Name())
		case clash:
			report(ErrCallbackClash, name, "", "is called at the same moment as %q, and looplab keeps only one of them; remove one", other)
		case m.isEventAndState(name):
			report(ErrCallbackClash, name, "", "is both an event and a state; write after_%s or enter_%s", name, name)
		case callbacks[name] == nil:
			report(ErrNilCallback, name, "", "is nil; looplab would panic when it calls it")
		}
		if ok {
			taken[when] = name
		}
	}
	return problems
}

// moment reads a callback's name as looplab does; false if it would ignore it.
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

// isEventAndState reports whether name is a short form with two meanings.
func (m *Machine) isEventAndState(name string) bool {
	return m.Has(State(name)) && m.HasEvent(Event(name))
}

// callbackNames lists all long forms, and the short ones.
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
