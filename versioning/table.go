package versioning

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
)

// A Table says where the entities of a machine live: in a table of the
// application's own, one row an entity.
type Table struct {
	// Machine is the state machine of the entities. Required.
	Machine *statemachine.Machine

	// Name is the table's name, "orders" or "shop.orders"; each part is taken
	// as it stands in the catalog, upper and lower case included. Required.
	Name string

	// Key, State and Version name the columns. Key defaults to the table's
	// primary key, where that is one column; State to "state"; Version to
	// "version".
	Key     string
	State   string
	Version string

	// Identity says what proves a duplicate. The zero value, ByMessage, suits
	// every machine.
	Identity Identity

	// ParkFor bounds how long a record may wait for its entity before it becomes
	// a dead letter. 0 means 24 hours; negative means without a bound.
	ParkFor time.Duration

	// MaxParked bounds how many records may wait for one entity; one more
	// becomes a dead letter. 0 means 100.
	MaxParked int
}

const (
	defaultParkFor   = 24 * time.Hour
	defaultMaxParked = 100
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
		t.MaxParked = defaultMaxParked
	}
	return t
}

// table is a Table with what the catalog says of it.
type table struct {
	Table
	ident   string // the table's quoted name
	columns []tableColumn
	byName  map[string]int
	key     *tableColumn
	state   *tableColumn
	version *tableColumn
	states  map[string]statemachine.State // of the machine, by name
}

// A tableColumn is one column of a table in the catalog.
type tableColumn struct {
	name       string
	typeName   string // as a reader knows it
	base       uint32 // the type, that below a domain
	cast       string // its quoted name. A cast to it does not truncate, as one to varchar(3), character or a domain does
	array      bool
	notNull    bool
	hasDefault bool
	identity   string // of pg_attribute.attidentity: 'a' is ALWAYS
	generated  bool
	labels     []string // of an enum
	unique     bool     // alone in a unique index that ON CONFLICT can use
	primary    bool     // alone in the primary key
	collation  string   // its quoted name; empty where the type has none
	exactText  bool     // equal strings only are equal keys: the collations of the column and its unique indexes are deterministic
	maxLength  int      // of a varchar; 0 is none
}

// sqlName returns the column's quoted name.
func (c *tableColumn) sqlName() string { return pgx.Identifier{c.name}.Sanitize() }

// collate returns what makes a comparison one under the column's collation.
func (c *tableColumn) collate() string {
	if c.collation == "" {
		return ""
	}
	return " COLLATE " + c.collation
}

// canonicalKey returns the one spelling of a key that equal keys share.
func (t *table) canonicalKey(key string) (string, error) {
	switch t.key.base {
	case pgtype.UUIDOID:
		id, ok := parseUUID(key)
		if !ok {
			return "", fmt.Errorf("key %q is no UUID", key)
		}
		return string(appendUUID(nil, id)), nil
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		n, err := strconv.ParseInt(key, 10, intBits(t.key.base))
		if err != nil {
			return "", fmt.Errorf("key is no %s: %w", t.key.typeName, err)
		}
		return strconv.FormatInt(n, 10), nil
	}
	if t.key.maxLength > 0 && utf8.RuneCountInString(key) > t.key.maxLength {
		return "", fmt.Errorf("key is longer than the column's %d characters", t.key.maxLength)
	}
	return key, nil
}

// parseUUID reads the spellings that PostgreSQL reads: upper and lower case,
// with and without braces, hyphens after any group of four digits.
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
