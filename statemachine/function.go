package statemachine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"reflect"
	"strconv"
	"time"
)

// A Firing describes one step of one entity. An action gets it instead of a clock, a
// source of randomness or other input, so that the action stays a pure function.
type Firing struct {
	Machine string
	Key     string // the entity's key
	Event   Event
	From    State // None if the event creates the entity
	To      State // the target of the branch

	// Version is the row's version after the step. The step that creates the entity
	// has version 1.
	Version int64

	// Time is the record's timestamp in UTC, which the producer or the broker has set. For
	// a change that a caller waits for, it is the time of the call. For a timer, it is the
	// time when it was due.
	Time time.Time

	outputs *Outputs
}

// ID returns an identifier for the step, in the form of a UUID. It is derived from the
// machine, the key and the version, so it is the same whenever the step is computed
// again, and no other step has it.
func (f *Firing) ID() string {
	h := sha256.New()
	for _, part := range []string{f.Machine, f.Key} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part)) // the length keeps ("a", "bc") and ("ab", "c") apart
	}
	h.Write([]byte(strconv.FormatInt(f.Version, 10)))
	id := [16]byte(h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // UUID version 8: custom
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// An Action computes a row's new data in a transition. [Do] returns one. The zero value
// does nothing.
type Action struct {
	types
	run func(f *Firing, row, event any) error
}

// Do returns an action that calls fn with the entity's row and the event's data. fn
// changes the row in place; what it leaves there is written together with the new state. What
// it asks for with [Firing.Emit], [Firing.Enqueue] and [Firing.At] is written with it too.
//
// R is the machine's row type: a struct whose fields have `db` tags that name columns.
// All functions of a machine have the same R. E is the type of the event's data. All
// functions of an event have the same E. Use struct{} for R or E if fn does not need the
// row or the event.
//
// If fn returns an error or panics, the record is refused: nothing of it is written, and
// it becomes a dead letter with the error's text. If the error wraps [NotYet], the record
// is parked instead.
//
// fn must be a pure function of its arguments: no clock, no randomness, no I/O, no memory.
// It may be called several times for one record, because after a conflict the row is read
// again. It must not keep its arguments, and must be safe for concurrent use.
func Do[R, E any](fn func(f *Firing, row *R, event E) error) Action {
	if fn == nil {
		return Action{types: typesOf[R, E]()}
	}
	return Action{typesOf[R, E](), func(f *Firing, row, event any) error {
		e, _ := event.(E) // nil is the zero value
		return fn(f, row.(*R), e)
	}}
}

// A Condition selects a branch. [When] returns one. The zero value always holds.
type Condition struct {
	types
	label string
	holds func(row, event any) bool
}

// When returns a condition that calls fn with the entity's row, as it is before the
// transition, and the event's data. The label describes the condition in diagrams; it must
// not be empty. The rules for fn and its types are those of [Do]: a panic refuses the
// record.
func When[R, E any](label string, fn func(row R, event E) bool) Condition {
	c := Condition{types: typesOf[R, E](), label: label}
	if fn != nil {
		c.holds = func(row, event any) bool {
			e, _ := event.(E)
			return fn(*row.(*R), e)
		}
	}
	return c
}

// types are the types that a function takes. They are nil in a zero Action or Condition.
type types struct{ row, event reflect.Type }

func typesOf[R, E any]() types { return types{reflect.TypeFor[R](), reflect.TypeFor[E]()} }

// NotYet returns an error with which an action parks its record: the record is judged again
// when the entity moves. The error's text is that of err.
func NotYet(err error) error { return &notYet{err} }

// IsNotYet reports whether err is or wraps an error that [NotYet] has returned.
func IsNotYet(err error) bool {
	_, ok := errors.AsType[*notYet](err)
	return ok
}

type notYet struct{ error }

// Unwrap returns the error that NotYet was called with.
func (e *notYet) Unwrap() error { return e.error }

// A Branch is one of the transitions that an event can make from a state. Branches are
// for stores; see [Machine.Branches].
type Branch struct {
	To State

	to   uint16 // the index of To
	when Condition
	do   Action
}

// Label returns the label of the branch's condition, or "" if the branch has none.
func (b *Branch) Label() string { return b.when.label }

// IsConditional reports whether the branch has a condition.
func (b *Branch) IsConditional() bool { return b.when.holds != nil }

// Holds calls the condition with a pointer to the row and with the event's data. The types
// must be those of the machine; otherwise Holds panics. Data of nil stands for the zero
// value. Without a condition, Holds returns true.
func (b *Branch) Holds(row, data any) bool { return b.when.holds == nil || b.when.holds(row, data) }

// Acts reports whether the branch has an action.
func (b *Branch) Acts() bool { return b.do.run != nil }

// Act calls the action, which changes the row. Its arguments are as in Holds. Without an
// action, Act returns nil.
func (b *Branch) Act(f *Firing, row, data any) error {
	if b.do.run == nil {
		return nil
	}
	return b.do.run(f, row, data)
}
