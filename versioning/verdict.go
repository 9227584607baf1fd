package versioning

import (
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// A Verdict is what became of a record. The values are ordered from the most
// to the least favourable; a record with several changes gets the least
// favourable of theirs.
type Verdict uint8

const (
	// Undecided is the zero value: there is no verdict yet, and the record's
	// offset must not be committed.
	Undecided Verdict = iota

	// Ignored: the record asks for no change. Nothing is written.
	Ignored

	// Duplicate: the message has already taken effect, and that is proven.
	// Nothing is written.
	Duplicate

	// Applied: the guarded UPDATE or INSERT took, and the history with it. A
	// record of which some changes are duplicates and the rest took is
	// Applied.
	Applied

	// Early: not legal now, may be later. The record is parked beside its
	// entity and judged again whenever that entity moves.
	Early

	// Rejected: can never be legal. The record is kept as a dead letter.
	Rejected

	// Diverged: the expected version was taken by a different event, or the
	// message ID by a message that asked for something else. The record is kept as
	// a dead letter that names both events.
	Diverged
)

var verdictNames = [...]string{"undecided", "ignored", "duplicate", "applied", "early", "rejected", "diverged"}

// String returns the verdict's name in lower case, as it is logged and stored.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// ParseVerdict returns the verdict with a name that String returns, or Undecided.
func ParseVerdict(s string) Verdict {
	for i, name := range verdictNames {
		if name == s {
			return Verdict(i)
		}
	}
	return Undecided
}

// A Reason says why a record is Early, Rejected or Diverged. It is one of a
// closed set of codes, stored with parked records and dead letters.
type Reason string

const (
	// ReasonNone goes with Applied, Duplicate and Ignored.
	ReasonNone Reason = ""

	// Early.
	ReasonNoEntity     Reason = "no_entity"     // the entity does not exist yet
	ReasonNotYet       Reason = "not_yet"       // legal only in a state that is still ahead
	ReasonVersionAhead Reason = "version_ahead" // the expected version is still ahead
	ReasonUnknownState Reason = "unknown_state" // the row's state is unknown to this version of the machine; another may know it

	// Rejected.
	ReasonUndecodable    Reason = "undecodable"     // Decode returned an error or panicked
	ReasonUnknownMachine Reason = "unknown_machine" // no such machine in this store
	ReasonUnknownEvent   Reason = "unknown_event"   // no transition of the machine has this event
	ReasonIllegal        Reason = "illegal"         // not legal here, nor in any state still ahead
	ReasonGuard          Reason = "guard"           // the transition's guard refused, or panicked
	ReasonEntityGone     Reason = "entity_gone"     // the row was removed, its history remains
	ReasonInvalidKey     Reason = "invalid_key"     // the key is no value of the key column's type
	ReasonInvalidMessage Reason = "invalid_message" // the message ID can't be stored
	ReasonNoVersion      Reason = "no_version"      // duplicates are told by version, and the change expects none
	ReasonInvalidColumn  Reason = "invalid_column"  // Set names no such column, or a value that does not fit
	ReasonTooLarge       Reason = "too_large"       // the record, or the number of its changes, is over the bound
	ReasonTooManyParked  Reason = "too_many_parked" // as many records as Table.MaxParked wait for the entity already
	ReasonParkedTooLong  Reason = "parked_too_long" // it was not legal within Table.ParkFor
	ReasonConstraint     Reason = "constraint"      // PostgreSQL refused the row: a constraint, a trigger, a value out of range

	// Diverged.
	ReasonVersionTaken   Reason = "version_taken"   // another event made this step
	ReasonMessageTaken   Reason = "message_taken"   // another message with the same ID has moved the entity
	ReasonHistoryMissing Reason = "history_missing" // the version is past, and no history tells by what
)

// A Refusal is the error of a record that can never be applied, with the code
// of its reason. Decode functions may return one to choose the reason.
type Refusal struct {
	Reason Reason
	Err    error
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Refuse returns a [*Refusal], for Decode functions and stores.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// An Outcome is the verdict on one record and what led to it.
type Outcome struct {
	Verdict Verdict
	Reason  Reason

	// Detail says in words why. It may quote the message: it is for the dead
	// letter's row, not for logs.
	Detail string

	// Entity and Event are those of the change that decided: the first of the
	// least favourable ones. Empty where there was no change.
	Entity Entity
	Event  statemachine.Event
}

// DeadLettered reports whether the record ends as a dead letter.
func (o Outcome) DeadLettered() bool { return o.Verdict == Rejected || o.Verdict == Diverged }

// rejection is the outcome of a record that err speaks against. Its entity and event
// are those of its first change, if it has one.
func rejection(r *Record, err error) Outcome {
	o := Outcome{Verdict: Rejected, Reason: ReasonUndecodable, Detail: err.Error()}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		o.Reason = refusal.Reason
	}
	if len(r.Changes) > 0 {
		o.Entity, o.Event = r.Entity(0), r.Changes[0].Event
	}
	return o
}
