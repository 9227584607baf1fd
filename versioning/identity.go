package versioning

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// Identity says what proves that a message has already taken effect.
type Identity uint8

const (
	// ByMessage is the zero value: a change with an expected version is identified by
	// that version, any other change by its message ID. If a version was taken by the
	// same event of a different message, and both messages have IDs other than their
	// origins, the change is Diverged.
	ByMessage Identity = iota

	// ByVersion identifies a change by its expected version and event alone and ignores
	// message IDs. It is for producers that give a message a new ID each time they send
	// it. If two messages expect the same version for the same event, the second is a
	// duplicate. A change without a version is rejected.
	ByVersion

	// ByState identifies a change without an expected version by the entity's state
	// alone. It is sound only for machines whose definition proves it: see
	// [statemachine.Machine.ProveStateIdentity]. Open returns an error for any other
	// machine.
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

// Rules are what a fold needs to know about a machine.
type Rules struct {
	Machine  *statemachine.Machine
	Identity Identity

	// MaxParked limits how many records may wait for one entity. 0 means no limit. A hundred
	// times as many may wait for a newer version of the machine, or for a migration.
	MaxParked int

	// KeepUnknown parks a record whose event no known definition has, and the entity's later
	// records, instead of rejecting it: a newer definition may soon be registered. The store
	// makes a dead letter of it after a while. It does not concern timers and callers of
	// Store.Do.
	KeepUnknown bool

	// Functions is what the fold needs to call the machine's functions. Stores set it.
	// It is nil if the machine has none.
	Functions *Functions

	// Encode encodes the values of messages. nil means JSON. See [EncodeFunc].
	Encode EncodeFunc

	// ContentType is the media type of what Encode returns. Empty means that it is unknown.
	ContentType string

	// PassHeaders are the keys of headers of a record that its messages get too. See
	// [TraceHeaders].
	PassHeaders []string

	// TextKeys says that the keys of messages must be text that PostgreSQL can store.
	TextKeys bool

	// CheckJob checks a job that an action enqueues: whether the store's queue can take it.
	// nil means that there is no queue. See [CheckJobFunc].
	CheckJob CheckJobFunc

	// Newer has the outlines of newer definitions of the machine that the store knows of. A
	// record that one of them can apply, and that this machine would reject, waits for a worker
	// that has it.
	Newer []statemachine.Outline
}
