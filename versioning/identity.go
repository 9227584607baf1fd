package versioning

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// Identity says what proves that a message has already taken effect.
type Identity uint8

const (
	// ByMessage is the zero value: by the expected version where a change
	// carries one, by its message ID otherwise.
	ByMessage Identity = iota

	// ByVersion: by the expected version alone. A change without one is
	// rejected.
	ByVersion

	// ByState: by the entity's state alone, for changes without an expected
	// version. Sound only for machines whose definition proves it:
	// [statemachine.Machine.ProveStateIdentity]; Open refuses the others.
	ByState
)

// String returns the identity's name in lower case.
func (i Identity) String() string {
	switch i {
	case ByMessage:
		return "by message"
	case ByVersion:
		return "by version"
	case ByState:
		return "by state"
	}
	return fmt.Sprintf("identity(%d)", uint8(i))
}

// Rules are what a fold needs to know of a machine.
type Rules struct {
	Machine  *statemachine.Machine
	Identity Identity

	// MaxParked bounds the records that may wait for one entity. 0 is no bound.
	MaxParked int
}
