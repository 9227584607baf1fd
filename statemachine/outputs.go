package statemachine

import "time"

// Outputs are what an action wants its transition to cause. The store writes them in the
// transaction that makes the transition, so they happen exactly if it did: messages are
// published, jobs are run and timers fire afterwards. A message that is delivered twice, or
// a replay, causes nothing.
type Outputs struct {
	Messages []Message
	Jobs     []any
	Timers   []Timer
}

// A Message is a record to produce to a topic.
type Message struct {
	// Topic is the topic's name. Required.
	Topic string

	// Key is the record's key. nil means the entity's key as text. Kafka keeps the order
	// of records with the same key.
	Key []byte

	// Value is the record's value. The table's codec encodes it: JSON, if there is none. A
	// []byte is not encoded. nil is a tombstone, a record without a value.
	Value any

	// Headers are added to those that each message has; see the documentation of package
	// relay. Keys that begin with "ce_" are refused.
	Headers []Header
}

// A Header is one header of a Message.
type Header struct {
	Key   string
	Value []byte
}

// A Timer is an event that happens to the entity at a time, unless the entity has left its
// state by then.
type Timer struct {
	Event Event
	At    time.Time
}

// Emit sends a message about the transition, with the entity's key as the record's key.
// Messages of one entity to one topic, with one key, are published in the order in which its
// transitions emitted them.
// If the value can't be encoded, the record is refused.
func (f *Firing) Emit(topic string, value any) { f.EmitMessage(Message{Topic: topic, Value: value}) }

// EmitMessage is [Firing.Emit] for a message with another key, or with headers.
func (f *Firing) EmitMessage(m Message) { f.out().Messages = append(f.out().Messages, m) }

// Enqueue adds a job for something that a transition can't do itself, such as a call to
// another service. The table's queue says what a job is; see package jobs. Without a queue,
// the record is refused.
func (f *Firing) Enqueue(job any) { f.out().Jobs = append(f.out().Jobs, job) }

// At sets a timer: event e happens to the entity at time t, or as soon as possible if that
// has passed. The timer holds while the entity stays in the state that the transition leads
// to. It replaces a timer for the same event that was set since the entity entered the
// state, also one of [Transition.After]. The event must be one of the machine, and its
// functions, if it has any, must take struct{} as data.
func (f *Firing) At(e Event, t time.Time) { f.out().Timers = append(f.out().Timers, Timer{e, t}) }

// Outputs returns what the action has asked for so far, or nil. It is for stores.
func (f *Firing) Outputs() *Outputs { return f.outputs }

func (f *Firing) out() *Outputs {
	if f.outputs == nil {
		f.outputs = &Outputs{}
	}
	return f.outputs
}
