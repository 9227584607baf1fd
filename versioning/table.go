package versioning

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
}

// limits of what a message may bring into the columns that are indexed: a
// B-tree entry holds no more than about 2,700 bytes.
const (
	maxKeyBytes       = 1024
	maxMessageIDBytes = 1024
)

// table is a Table with what the catalog says of it.
type table struct {
	Table
	ident   string // the table's quoted name
	columns []tableColumn
	byName  map[string]int
	key     *tableColumn
	state   *tableColumn
	version *tableColumn
}

// A tableColumn is one column of a table in the catalog.
type tableColumn struct {
	name       string
	typeName   string // as SQL text, without a length: a cast to it does not truncate
	oid        uint32
	base       uint32 // the type below a domain, else oid
	notNull    bool
	hasDefault bool
	identity   string // of pg_attribute.attidentity: 'a' is ALWAYS
	generated  bool
	labels     []string // of an enum
	unique     bool     // alone in a unique index that ON CONFLICT can use
	primary    bool     // alone in the primary key
	exactText  bool     // equal strings only are equal keys: the collation is deterministic
	maxLength  int      // of a varchar; 0 is none
}

// sqlName returns the column's quoted name.
func (c *tableColumn) sqlName() string { return pgx.Identifier{c.name}.Sanitize() }

var errKeyText = errors.New("not valid UTF-8, or holds a NUL byte, which PostgreSQL's text can't")

// canonicalKey returns the one spelling of a key that equal keys share.
func (t *table) canonicalKey(key string) (string, error) {
	if key == "" {
		return "", errors.New("empty key")
	}
	if len(key) > maxKeyBytes {
		return "", fmt.Errorf("key of %d bytes, more than %d", len(key), maxKeyBytes)
	}
	switch t.key.base {
	case pgtype.UUIDOID:
		var id pgtype.UUID
		if err := id.Scan(strings.Trim(key, "{}")); err != nil {
			return "", fmt.Errorf("key %q is no UUID", key)
		}
		return string(appendUUID(nil, id.Bytes)), nil
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
		n, err := strconv.ParseInt(key, 10, intBits(t.key.base))
		if err != nil {
			return "", fmt.Errorf("key is no %s: %w", t.key.typeName, err)
		}
		return strconv.FormatInt(n, 10), nil
	}
	if !storableText(key) {
		return "", errKeyText
	}
	if t.key.maxLength > 0 && utf8.RuneCountInString(key) > t.key.maxLength {
		return "", fmt.Errorf("key is longer than the column's %d characters", t.key.maxLength)
	}
	return key, nil
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

// storableText reports whether PostgreSQL can hold s as text in UTF-8.
func storableText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
