package statemachine

import "fmt"

// Class is what an event means to an entity in a given state, guards left aside.
// Where several would apply, the first of Now, Later, Behind, Never does.
type Class uint8

const (
	// Unknown is the zero value: the machine does not know the event or the
	// state.
	Unknown Class = iota

	// Now: the event is legal in this state.
	Now

	// Later: not legal now, but in a state that can be reached from here.
	Later

	// Behind: neither legal now nor later, and some path from None to this state
	// takes it. Whether this entity took it is another question; see
	// [Machine.ProveStateIdentity].
	Behind

	// Never: no path through this state takes the event, before or after.
	Never
)

// String returns the name in lower case, as it is fit for a metric's label.
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
