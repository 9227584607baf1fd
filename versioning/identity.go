package versioning

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// Identity says what proves that a message has already taken effect.
type Identity uint8

const (
	// ByMessage is the zero value: by the expected version where a change
	// carries one, by its message ID otherwise. Where a version was taken by the
	// same event of another message, both with IDs of their own, the change has
	// diverged.
	ByMessage Identity = iota

	// ByVersion: by the expected version and the event alone, whatever the
	// message IDs are: for producers that give a message a new ID each time they
	// send it. Of two messages that expect the same version for the same event,
	// the second is a duplicate. A change without a version is rejected.
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
