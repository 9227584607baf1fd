package versioning

import (
	"strconv"

	"github.com/pawl-go/pawl/statemachine"
)

// A Change is one step that a record asks of one entity: "event Event
// happened to entity Key of machine Machine".
//
// The zero value of every field but Key and Event is useful.
type Change struct {
	// Machine names the machine, and so the table, of the entity. Empty
	// means the store's only machine; with several it is an error of the
	// record.
	Machine string

	// Key is the entity's key as text, whatever the type of the key column:
	// "42" for a bigint, any spelling of a UUID for a uuid.
	Key string

	// Event is the event that moves the entity.
	Event statemachine.Event

	// MessageID tells this message from every other message that reaches
	// the same entity. Empty means the record's origin: its topic's UUID,
	// partition and offset. ([Record.Decode] fills it from headers first.)
	//
	// Producers that send a message twice send it with the same ID, event and
	// columns. An ID that comes again with another event, or with columns that are
	// set to other values, is another message: it has diverged. So what differs each
	// time a message is sent, such as the time of the Kafka record, is not to be in
	// Set where messages may be sent twice.
	MessageID string

	// FormerID is an ID that the same message may have in the history of an earlier
	// version of the application: there it makes a duplicate of the same event, as
	// MessageID does. It does not stand for another message, though, and is not
	// written. Empty means none.
	FormerID string

	// Expected is the version that the message expects to find, where it
	// carries one. The zero value expects nothing.
	Expected Expected

	// Set holds further columns of the entity's row to write together with
	// the transition. nil values are written as NULL; columns that are not
	// named keep their value, or get their default in a new row.
	Set Columns
}

// MessageIDs returns the IDs that the history may know the change's message by.
func (c *Change) MessageIDs() []string {
	if c.FormerID == "" || c.FormerID == c.MessageID {
		return []string{c.MessageID}
	}
	return []string{c.MessageID, c.FormerID}
}

// Columns are column values by column name. A value is whatever pgx can encode
// for the column's PostgreSQL type: Go's scalars, time.Time, slices for array
// columns, structs and maps for json, a [database/sql/driver.Valuer], or the
// value's PostgreSQL text form as a string. nil is NULL.
type Columns map[string]any

// Expected is an optional version number. Its zero value means that nothing is
// expected; [At] makes one that expects a version.
type Expected struct {
	version int64
	set     bool
}

// At expects to find the entity at version v. At(0) expects it not to exist
// yet: the first version of an entity is 1.
func At(v int64) Expected { return Expected{version: v, set: true} }

// Version returns the expected version; ok is false where nothing is expected.
func (x Expected) Version() (v int64, ok bool) { return x.version, x.set }

// String returns the version in decimal, or "any" where nothing is expected.
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
