package postgres

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Table says where the entities of a machine are stored: in a table of the
// application, with one row per entity.
type Table struct {
	// Machine is the state machine of the entities. Required.
	Machine *statemachine.Machine

	// Name is the table's name, "orders" or "shop.orders". Each part is spelled as in
	// the catalog, including upper and lower case. Required.
	Name string

	// Key, State and Version name the columns. Key defaults to the table's primary key
	// if that is one column, State to "state", Version to "version".
	Key     string
	State   string
	Version string

	// Identity says what proves a duplicate. The zero value, ByMessage, suits
	// every machine.
	Identity versioning.Identity

	// ParkFor limits how long a record may wait for its entity before it becomes a dead
	// letter. Only time in which all partitions were read as records arrived counts:
	// see [Store.Sweep]. 0 means 24 hours; negative means no limit.
	ParkFor time.Duration

	// KeepUnknown is how long a record waits whose event no version of the machine has that is
	// registered in the database, before it becomes a dead letter. The entity's later records wait
	// too. If a version that has the event is registered meanwhile, it applies the record. So
	// during a rolling deploy the records of a new event may arrive before the first new worker has
	// started. 0 means not at all: the record becomes a dead letter at once, and a version that
	// has the event judges it again, but later records may have overtaken it.
	KeepUnknown time.Duration

	// FoldSteps writes all steps of an entity in a batch in one write, even if the
	// table could tell the difference: it has triggers or row security, or a CHECK, a
	// unique index or a foreign key covers columns that several of the steps set. That
	// is faster, and more so with more steps per entity. The price is that constraints
	// and triggers no longer see each step: a value that a later record of the batch
	// overwrites is not checked, and a trigger does not fire for it. So the verdict on
	// a record may depend on where a batch ends. [Store.Stepwise] returns the tables
	// for which FoldSteps makes a difference.
	FoldSteps bool

	// MaxRefused limits how many records in a row PostgreSQL may refuse for the same
	// reason, with no other record of the machine written in between. After that the
	// store stops making dead letters of them and returns [ErrAllRefused], because the
	// cause is probably not the records. 0 means 1,000; negative means no limit.
	MaxRefused int

	// MaxParked limits how many records may wait for one entity. Further records become
	// dead letters. 0 means 100. A hundred times as many may wait until a newer version of
	// the machine is deployed, or until the entity is migrated out of a retired state.
	MaxParked int

	// Encode encodes the values of messages that actions emit. nil means JSON.
	Encode versioning.EncodeFunc

	// ContentType is the media type of what Encode returns, for the content-type header of
	// the messages. Empty means that they get none. Without Encode it is application/json.
	ContentType string

	// PassHeaders are the keys of headers of a record that the messages which it causes get
	// too, unless the action sets them: [versioning.TraceHeaders] for traces. They take room
	// in the outbox. nil passes none.
	PassHeaders []string

	// Source is the ce_source header of the messages. A message's ID is unique among the
	// messages with the same source, so no other database that sends to the same topics may
	// have the same Source for a machine of the same name. CloudEvents wants a URI reference.
	// Empty means "/database/schema": the names of the database and of the framework's schema.
	Source string

	// Outbox says how messages leave the database. The zero value, Packed, is for package
	// relay.
	Outbox Outbox

	// Queue stores the jobs that actions enqueue. nil means that there is no queue: then a
	// record whose action enqueues a job is rejected. Package jobs has one. If it is a
	// [JobChecker], a job that it can't take rejects the record too.
	Queue OutputWriter

	// Unlogged allows the table to be unlogged. Open refuses such a table otherwise, because a
	// crash of the server empties it, while the history stays.
	Unlogged bool

	// Silent drops the messages and jobs of actions instead of writing them. Timers are armed
	// as always, and a Queue is not needed. It is for a replay that must not cause anything a
	// second time.
	Silent bool
}

const (
	defaultParkFor = 24 * time.Hour

	// DefaultMaxParked is the MaxParked of a Table that has none.
	DefaultMaxParked = 100

	defaultMaxRefused = 1000
)

// An Outbox is a way in which messages leave the database.
type Outbox uint8

const (
	// Packed is the zero value: messages are written to table outbox, many in one row, and
	// package relay publishes them. Workers run a relay.
	Packed Outbox = iota

	// Debezium writes each message as a row of table outbox_events, for Debezium's outbox
	// event router, and deletes it in the same transaction: Debezium reads the WAL. The keys
	// of messages must be text. The package documentation says how to configure the router.
	Debezium
)

func (t Table) withDefaults() Table {
	if t.State == "" {
		t.State = "state"
	}
	if t.Version == "" {
		t.Version = "version"
	}
	if t.ParkFor == 0 {
		t.ParkFor = defaultParkFor
	}
	if t.MaxParked == 0 {
		t.MaxParked = DefaultMaxParked
	}
	if t.MaxRefused == 0 {
		t.MaxRefused = defaultMaxRefused
	}
	return t
}

// table is a Table and what the catalog says about it.
type table struct {
	Table
	oid         uint32
	ident       string // the table's quoted name
	fingerprint fingerprint
	rules       rulebook

	required []int // columns that a new row must set
	creates  map[statemachine.Event]bool
	updates  map[statemachine.Event]bool
	columns  []tableColumn
	byName   map[string]int
	key      *tableColumn
	state    *tableColumn
	version  *tableColumn
	states   map[string]statemachine.State // of the machine, by name
	rows     *rowType                      // nil if the machine has no functions
	heirs    bool                          // other tables may inherit from it, so two rows may have one key

	definitions []Definition // of the machine that are registered

	refusals refusals
	atOnce   atomic.Int32 // for how many batches to read messages without looking at their hashes
	recent   recent       // of the snapshot's memory
}

// A tableColumn is one column of a table in the catalog.
type tableColumn struct {
	name       string
	typeName   string // as users write it
	base       uint32 // the type; for a domain, its base type
	cast       string // its quoted name. A cast to it does not truncate, unlike one to varchar(3), character or a domain
	array      bool
	notNull    bool
	hasDefault bool
	identity   string // pg_attribute.attidentity: 'a' means ALWAYS
	generated  bool
	labels     []string // of an enum
	unique     bool     // the only column of a unique index that ON CONFLICT can use
	primary    bool     // the only column of the primary key
	collation  string   // its quoted name; empty if the type has none
	exactText  bool     // keys are equal only if their strings are: the collations of the column and its unique indexes are deterministic
	maxLength  int      // of a varchar; 0 means none
	modifier   int      // the type modifier, such as precision and scale of a numeric; -1 means none
	domain     bool
	defaultSQL string // the column's own default as an expression; empty if it has none
}

// sqlName returns the column's quoted name.
func (c *tableColumn) sqlName() string { return pgx.Identifier{c.name}.Sanitize() }

// collate returns a COLLATE clause with the column's collation.
func (c *tableColumn) collate() string {
	if c.collation == "" {
		return ""
	}
	return " COLLATE " + c.collation
}

// canonicalKey returns the canonical form of a key, which equal keys share.
func (t *table) canonicalKey(key string) (string, error) {
	key, err := t.key.canonical(key)
	if err != nil {
		return "", fmt.Errorf("key %w; column %s has type %s: return a key of this type from Decode, or change the type",
			err, t.key.name, t.key.typeName)
	}
	return key, nil
}

// canonical returns the canonical form of a value, which equal values share, for the
// types that a key may have.
func (c *tableColumn) canonical(value string) (string, error) {
	if c.maxLength > 0 && utf8.RuneCountInString(value) > c.maxLength { // PostgreSQL accepts longer values that end in blanks, and trims them
		return "", fmt.Errorf("is longer than the column's %d characters", c.maxLength)
	}
	switch c.base {
	case pgtype.UUIDOID:
		id, ok := parseUUID(value)
		if !ok {
			return "", fmt.Errorf("%q is not a uuid", value)
		}
		return pgtype.UUID{Bytes: id, Valid: true}.String(), nil
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		n, err := strconv.ParseInt(value, 10, intBits(c.base))
		if err != nil {
			return "", fmt.Errorf("%q is not a %s", value, c.typeName)
		}
		return strconv.FormatInt(n, 10), nil
	}
	return value, nil
}

// castOrNull returns an expression that casts a text to the column's type. It is NULL
// if the text is not in canonical form.
func (c *tableColumn) castOrNull(text string) string {
	var is string
	switch c.base {
	case pgtype.UUIDOID:
		is = text + ` ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'`
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		most := int64(1)<<(intBits(c.base)-1) - 1
		is = fmt.Sprintf(`CASE WHEN %s ~ '^-?[0-9]{1,19}$' THEN %s::numeric BETWEEN %d AND %d END`, text, text, -most-1, most)
	default:
		return fmt.Sprintf("%s::%s", text, c.cast)
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s::%s END", is, text, c.cast)
}

// parseUUID accepts the forms that PostgreSQL accepts: upper and lower case, with and
// without braces, with a hyphen after any group of four digits.
func parseUUID(s string) (id [16]byte, ok bool) {
	if len(s) > 1 && s[0] == '{' && s[len(s)-1] == '}' {
		s = s[1 : len(s)-1]
	}
	for i := range id {
		if i > 0 && i%2 == 0 && len(s) > 0 && s[0] == '-' {
			s = s[1:]
		}
		if len(s) < 2 {
			return id, false
		}
		if _, err := hex.Decode(id[i:i+1], []byte(s[:2])); err != nil {
			return id, false
		}
		s = s[2:]
	}
	return id, s == ""
}

func (c *tableColumn) isInteger() bool {
	return c.base == pgtype.Int8OID || c.base == pgtype.Int4OID || c.base == pgtype.Int2OID
}

func intBits(oid uint32) int {
	switch oid {
	case pgtype.Int2OID:
		return 16
	case pgtype.Int4OID:
		return 32
	}
	return 64
}
