package postgres

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// A column is a value of Change.Set, in the text form of its PostgreSQL type. Every
// type has a text form, so one text array per column carries the values of a whole
// batch, including arrays and composites.
type column struct {
	at   int // index in table.columns
	text string
	null bool
}

// types encodes Go values as the text of a PostgreSQL type.
type types struct {
	mu  sync.Mutex // pgtype.Map caches plans and is not safe for concurrent use
	typ *pgtype.Map
}

// newTypes returns the types that pgx knows. Times are in UTC, whatever the location of the
// process is: functions that see them must be pure.
func newTypes() *types {
	m := pgtype.NewMap()
	m.RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
	return &types{typ: m}
}

// copy returns a copy of the types that one goroutine may use.
func (t *types) copy() *pgtype.Map {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.typ.Copy()
}

// learn registers the types of a table's columns that pgx does not know by default,
// such as composites and ranges. Types that can't be loaded, including enums and arrays
// of them, are encoded as text.
func (t *types) learn(ctx context.Context, conn *pgxpool.Conn, table *table) {
	for i := range table.columns {
		c := &table.columns[i]
		if _, known := t.typ.TypeForOID(c.base); known {
			continue
		}
		typ, err := conn.Conn().LoadType(ctx, c.cast)
		if err != nil {
			typ = &pgtype.Type{Name: c.typeName, OID: c.base, Codec: textCodec(c.array)}
		}
		t.typ.RegisterType(typ)
	}
}

func textCodec(array bool) pgtype.Codec {
	if !array {
		return pgtype.TextCodec{}
	}
	return &pgtype.ArrayCodec{ElementType: &pgtype.Type{Name: "text", OID: pgtype.TextOID, Codec: pgtype.TextCodec{}}}
}

func byColumn(a, b column) int { return a.at - b.at }

// encode returns the columns that a change sets, sorted.
func (t *types) encode(table *table, set versioning.Columns) ([]column, error) {
	columns := make([]column, 0, len(set))
	for name, value := range set {
		i, ok := table.byName[name]
		if !ok {
			return nil, versioning.Refuse(versioning.ReasonInvalidColumn, "table %s has no column %q", table.Name, name)
		}
		c := &table.columns[i]
		if c == table.key || c == table.state || c == table.version {
			return nil, versioning.Refuse(versioning.ReasonInvalidColumn, "column %q of table %s is written by the framework; remove it from Set", name, table.Name)
		}
		if c.generated || c.identity == "a" {
			return nil, versioning.Refuse(versioning.ReasonInvalidColumn, "column %q of table %s is generated", name, table.Name)
		}
		text, null, err := t.text(c, value)
		if err != nil {
			return nil, versioning.Refuse(versioning.ReasonInvalidColumn, "column %q of table %s: %w", name, table.Name, err)
		}
		columns = append(columns, column{at: i, text: text, null: null})
	}
	slices.SortFunc(columns, byColumn)
	return columns, nil
}

func (t *types) text(c *tableColumn, value any) (text string, null bool, err error) {
	switch v := value.(type) {
	case nil:
		return "", true, nil
	case string:
		text = v
	default:
		if f := reflect.ValueOf(v); f.CanFloat() && c.isInteger() {
			text = strconv.FormatFloat(f.Float(), 'f', -1, 64) // pgx would drop the fraction
			break
		}
		buf, err := t.encodeText(c.base, v)
		if err != nil || buf == nil {
			return "", buf == nil, err
		}
		text = string(buf)
	}
	if !versioning.StorableText(text) {
		return "", false, fmt.Errorf("the value is %w", versioning.ErrText)
	}
	return text, false, nil
}

// plain returns a text for a value that does not depend on its column: the text of the
// PostgreSQL type that its Go type stands for, its driver.Valuer result, or JSON. For
// any other value it returns encoded, the text in the column's type.
func (t *types) plain(value any, encoded string) (text string, null bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string:
		return v, false
	case int:
		return strconv.Itoa(v), false
	case int64:
		return strconv.FormatInt(v, 10), false
	case bool:
		return strconv.FormatBool(v), false
	}
	t.mu.Lock()
	typ, known := t.typ.TypeForValue(value)
	t.mu.Unlock()
	oids := []uint32{pgtype.TextOID, pgtype.JSONOID}
	if known {
		oids = []uint32{typ.OID}
	}
	for _, oid := range oids {
		if buf, err := t.encodeText(oid, value); err == nil {
			return string(buf), buf == nil
		}
	}
	if encoded != "" {
		return encoded, false
	}
	return fmt.Sprint(value), false
}

// encodeText calls methods of the value, which may panic.
func (t *types) encodeText(oid uint32, value any) (buf []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			buf, err = nil, fmt.Errorf("encode a %T: panic: %v", value, p)
		}
	}()
	return t.typ.Encode(oid, pgtype.TextFormatCode, value, nil)
}

// digest starts the digest of a change of a table, with the columns that it sets. It uses the plain values, not what
// their columns turn them into, because the table may be altered before the message is
// resent. columns are the encoded values, or nil if they don't fit.
func (t *types) digest(table *table, c *versioning.Change, columns []column) versioning.Digester {
	d := versioning.NewDigester(c.Event)
	for i := range columns { // they are sorted by name
		name := table.columns[columns[i].at].name
		text, null := t.plain(c.Set[name], columns[i].text)
		d.Column(name, text, null)
	}
	if columns == nil {
		for _, name := range slices.Sorted(maps.Keys(c.Set)) {
			text, null := t.plain(c.Set[name], "")
			d.Column(name, text, null)
		}
	}
	return d
}
