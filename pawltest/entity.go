package pawltest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// An Entity is everything that a store has of one entity.
type Entity struct {
	Machine string
	Key     string

	// State is None, and Version 0, if the entity has no row.
	State   statemachine.State
	Version int64

	// Row is the row as the machine's functions see it: a value of their row type. It is nil if
	// the machine has no functions.
	Row any

	// Columns are those that changes have set (Change.Set) and the row type does not have. In
	// memory they have the values that were set; from a database they are text.
	Columns versioning.Columns

	Steps       []Step
	Messages    []Message // in the order in which they were emitted
	Jobs        []any     // in the order in which they were enqueued
	Timers      []Timer   // the first one that is due first
	Parked      []Parked  // in the order in which they were parked
	DeadLetters []DeadLetter
}

// A Step is one row of an entity's history.
type Step struct {
	Version  int64
	Event    statemachine.Event
	From, To statemachine.State

	by int64 // the number of the delivery; 0 if it is unknown
}

// A Message is one that a transition has emitted.
type Message struct {
	Topic string

	// Key is the record's key. Empty means the key of the entity.
	Key string

	// Value is what the message says. A got message has the bytes; a wanted one has the value
	// that the action passes to Emit, and is encoded before they are compared.
	Value any

	// Headers are those that the action has set.
	Headers map[string]string
}

// A Timer is an armed timer.
type Timer struct {
	Event statemachine.Event
	Due   time.Time
}

// A Parked is a record that waits for the entity.
type Parked struct {
	Delivery int64 // the number of the delivery, counted from 1
	Event    statemachine.Event
	Reason   versioning.Reason
}

// A DeadLetter is a record that could not be applied to the entity.
type DeadLetter struct {
	Delivery int64
	Event    statemachine.Event
	Verdict  versioning.Verdict
	Reason   versioning.Reason
	Detail   string
}

// ValueOf decodes the value of a message as JSON.
func ValueOf[T any](m Message) (value T, err error) {
	raw, ok := m.Value.([]byte)
	if !ok {
		return value, fmt.Errorf("the message to topic %q has a %T as its value, want bytes", m.Topic, m.Value)
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("decode the message to topic %q: %w", m.Topic, err)
	}
	return value, nil
}
