package versioning

import (
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// A Verdict is the decision about a record. The values are ordered from best to worst;
// a record with several changes gets the worst verdict of its changes.
type Verdict uint8

const (
	// Undecided is the zero value: there is no verdict yet, and the record's offset
	// must not be committed.
	Undecided Verdict = iota

	// Ignored: the record asks for no change. Nothing is written.
	Ignored

	// Duplicate: the message has already taken effect, and the history (or, with
	// [ByState], the state) proves it. Nothing is written.
	Duplicate

	// Applied: the guarded UPDATE or INSERT succeeded, and its history and outputs were
	// written in the same transaction. A record is also Applied if only some of its changes are
	// duplicates.
	Applied

	// Early: not legal now, but may be later. The record is parked and judged again
	// whenever its entity moves.
	Early

	// Rejected: can never be legal. The record becomes a dead letter.
	Rejected

	// Diverged: a different event already took the expected version, or a different
	// message already used the message ID. The record becomes a dead letter that names
	// both events.
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

// ParseVerdict returns the verdict whose String is s, or Undecided.
func ParseVerdict(s string) Verdict {
	for i, name := range verdictNames {
		if name == s {
			return Verdict(i)
		}
	}
	return Undecided
}

// A Reason says why a record is Early, Rejected or Diverged. It is one of a fixed set
// of codes, stored with parked records and dead letters.
type Reason string

const (
	// ReasonNone goes with Applied, Duplicate and Ignored.
	ReasonNone Reason = ""

	// Early.
	ReasonNoEntity     Reason = "no_entity"     // the entity does not exist yet
	ReasonNotYet       Reason = "not_yet"       // legal only in a later state, or the transition's action says so
	ReasonVersionAhead Reason = "version_ahead" // the entity has not reached the expected version
	ReasonUnknownState Reason = "unknown_state" // this version of the machine does not know the row's state; another may

	// Early: a newer definition of the machine, which is registered in the database, knows what
	// to do with the record, or with one of the entity that waits before it.
	ReasonNewerDefinition Reason = "newer_definition"

	// Early: a record of the entity waits before it whose event is unknown; see Table.KeepUnknown.
	ReasonBehindUnknown Reason = "behind_unknown"

	// Rejected; ReasonUnknownEvent is Early while Table.KeepUnknown lasts.
	ReasonUndecodable    Reason = "undecodable"     // Decode returned an error or panicked
	ReasonUnknownMachine Reason = "unknown_machine" // no such machine in this store
	ReasonUnknownEvent   Reason = "unknown_event"   // no transition of the machine has this event
	ReasonIllegal        Reason = "illegal"         // not legal in this state, nor in any later one
	ReasonRefused        Reason = "refused"         // the transition's action returned an error, or a function panicked
	ReasonNoBranch       Reason = "no_branch"       // no condition of the event's branches holds
	ReasonInvalidData    Reason = "invalid_data"    // the event's data is not of the type that its functions take, or a value does not fit its column
	ReasonInvalidOutput  Reason = "invalid_output"  // the action asks for a message, a job or a timer that can't be stored
	ReasonEntityGone     Reason = "entity_gone"     // the row was deleted; its history remains
	ReasonInvalidKey     Reason = "invalid_key"     // the key is not a value of the key column's type
	ReasonInvalidMessage Reason = "invalid_message" // the message ID can't be stored
	ReasonNoVersion      Reason = "no_version"      // the machine identifies changes by version, and the change expects none
	ReasonInvalidColumn  Reason = "invalid_column"  // Set names a column that does not exist, or a value that does not fit
	ReasonTooLarge       Reason = "too_large"       // the record is too large, or has too many changes
	ReasonTooManyParked  Reason = "too_many_parked" // Table.MaxParked records already wait for the entity
	ReasonParkedTooLong  Reason = "parked_too_long" // it was not legal within Table.ParkFor
	ReasonConstraint     Reason = "constraint"      // PostgreSQL refused the row: a constraint, a trigger, a value out of range

	// Diverged.
	ReasonVersionTaken   Reason = "version_taken"   // a different event made this step
	ReasonMessageTaken   Reason = "message_taken"   // a different message with the same ID has moved the entity
	ReasonHistoryMissing Reason = "history_missing" // the expected version is in the past, and the history has no step that followed it
)

// A Refusal is the error of a record that can never be applied, with its reason. A
// decode function may return one to choose the reason.
type Refusal struct {
	Reason Reason
	Err    error
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Err.Error() }

// Unwrap returns the underlying error.
func (r *Refusal) Unwrap() error { return r.Err }

// Refuse returns a [*Refusal], for Decode functions and stores.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// An Outcome is the verdict on one record and what led to it.
type Outcome struct {
	Verdict Verdict
	Reason  Reason

	// Detail explains the reason in words. It may quote the message, so store it with
	// the dead letter but do not log it.
	Detail string

	// Entity and Event are those of the change that decided the verdict: the first of
	// the worst ones. They are empty if there was no change.
	Entity Entity
	Event  statemachine.Event
}

// DeadLettered reports whether the record becomes a dead letter.
func (o Outcome) DeadLettered() bool { return o.Verdict == Rejected || o.Verdict == Diverged }

// rejection returns the outcome of a record rejected because of err. Entity and Event
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
