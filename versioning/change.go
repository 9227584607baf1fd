package versioning

import (
	"strconv"

	"github.com/pawl-go/pawl/statemachine"
)

// A Change is one step that a record asks of one entity: "event Event happened to
// entity Key of machine Machine".
//
// Every field except Key and Event may have its zero value.
type Change struct {
	// Machine names the entity's machine, and so its table. Empty means the store's
	// only machine. If the store has several, an empty Machine rejects the record.
	Machine string

	// Key is the entity's key as text, whatever the type of the key column: "42" for a
	// bigint, any spelling of a UUID for a uuid.
	Key string

	// Event is the event that moves the entity.
	Event statemachine.Event

	// MessageID identifies the message among all messages for the same entity. Empty
	// means the record's origin: its topic's UUID, partition and offset.
	// ([Record.Decode] first tries the record's headers.)
	//
	// A producer that resends a message must resend it with the same ID, event and
	// columns and data. If an ID arrives again with another event, other column values
	// or other data, it is a different message, and its record is Diverged. So if
	// messages may be resent, do not put values into Set or Data that differ each time,
	// such as the time of the Kafka record.
	MessageID string

	// FormerID is an ID under which an earlier version of the application may have
	// stored the message in the history. If that step has the same event, the change is
	// a duplicate, as with MessageID. Unlike MessageID, a FormerID that belongs to a
	// different message is ignored, and FormerID is not written. Empty means none.
	FormerID string

	// Expected is the version that the message expects the entity to have, if it
	// carries one. The zero value expects nothing.
	Expected Expected

	// Set holds other columns to write together with the transition. nil is written as
	// NULL. Columns not in Set keep their values, or get their defaults in a new row.
	// Set must not name columns of the machine's row type: its functions compute those.
	Set Columns

	// Data is what the event says, for the functions of its transitions: a value of
	// the type that they take, or a json.RawMessage that [Prepare] decodes into that
	// type. It may be nil if they take struct{}, or if the event has no functions;
	// without functions, any Data is ignored. Functions get copies of it.
	Data any

	// Armed is the entity's version when it armed the timer whose event this is; stores set
	// it. If the entity has left its state since, or has replaced the timer, the change asks
	// for nothing any more. 0 means that it is not a timer's event.
	Armed int64
}

// MessageIDs returns the IDs under which the history may hold the change's message.
func (c *Change) MessageIDs() []string {
	if c.FormerID == "" || c.FormerID == c.MessageID {
		return []string{c.MessageID}
	}
	return []string{c.MessageID, c.FormerID}
}

// Columns are column values by column name. A value may be anything that pgx can encode
// for the column's PostgreSQL type: Go's scalars, time.Time, slices for array columns,
// structs and maps for json, a [database/sql/driver.Valuer], or the value's PostgreSQL
// text form as a string. nil is NULL.
type Columns map[string]any

// Expected is an optional version number. The zero value expects nothing; [At] returns
// one that expects a version.
type Expected struct {
	version int64
	set     bool
}

// At expects the entity to be at version v. At(0) expects it not to exist yet: the
// first version of an entity is 1.
func At(v int64) Expected { return Expected{version: v, set: true} }

// Version returns the expected version. ok is false if nothing is expected.
func (x Expected) Version() (v int64, ok bool) { return x.version, x.set }

// String returns the version in decimal, or "any" if nothing is expected.
func (x Expected) String() string {
	if !x.set {
		return "any"
	}
	return strconv.FormatInt(x.version, 10)
}

// An Entity names one entity of one machine.
type Entity struct {
	Machine string
	Key     string
}

// String returns "machine/key".
func (e Entity) String() string { return e.Machine + "/" + e.Key }
