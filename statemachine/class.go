package statemachine

import "fmt"

// Class says what an event means to an entity in a given state. It does not
// consider guards. If several classes would fit, the first of Now, Later,
// Behind and Never applies.
type Class uint8

const (
	// Unknown is the zero value: the machine does not know the event or the
	// state.
	Unknown Class = iota

	// Now: the event is legal in this state.
	Now

	// Later: the event is not legal now, but it is legal in a state that can be
	// reached from this one.
	Later

	// Behind: the event is legal neither now nor later, but some path from None
	// to this state takes it. It may not be the path this entity took; see
	// [Machine.ProveStateIdentity].
	Behind

	// Never: no path through this state takes the event, before or after it.
	Never
)

// String returns the name in lower case, usable as a metric label.
func (c Class) String() string {
	switch c {
	case Unknown:
		return "unknown"
	case Now:
		return "now"
	case Later:
		return "later"
	case Behind:
		return "behind"
	case Never:
		return "never"
	default:
		return fmt.Sprintf("class(%d)", uint8(c))
	}
}
