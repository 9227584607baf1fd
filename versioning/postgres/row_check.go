package postgres

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// newRowType returns how the rows of the table's machine are read and written, or nil if
// the machine has no functions. Its error joins one *TableError per problem.
func (t *table) newRowType(types *types) (*rowType, error) {
	row := t.Machine.RowType()
	if row == nil {
		return nil, nil
	}
	fields, err := versioning.RowFields(row)
	if err != nil {
		return nil, t.problem("", "the row type of its machine does not fit: %v", err)
	}
	r := &rowType{row: row, flat: versioning.IsFlat(row)}
	r.maps.New = func() any { return types.copy() }
	m := types.copy()
	var problems []error
	for _, f := range fields {
		field := rowField{RowField: f}
		if err := t.checkField(m, &field); err != nil {
			problems = append(problems, err)
			continue
		}
		r.readsBack = r.readsBack || t.rules.derived[field.at] || !field.isPredictable()
		r.readsNew = r.readsNew || f.ReadOnly
		r.hasDefaults = r.hasDefaults || !field.startsAtZero(m)
		r.fields = append(r.fields, field)
	}
	return r, errors.Join(problems...)
}

// checkField finds the column of a field and checks that the field can hold all values
// of the column, and the column all values of the field.
func (t *table) checkField(m *pgtype.Map, f *rowField) error {
	at, ok := t.byName[f.Column]
	if !ok {
		return t.problem(f.Column, "does not exist, but the machine's row type %s has it; add the column, or correct the db tag", t.Machine.RowType())
	}
	f.at, f.column = at, &t.columns[at]
	c := f.column
	switch {
	case c == t.key, c == t.state, c == t.version:
		return t.problem(f.Column, "is written by the framework, so it can't be in the row type %s; functions find it in the Firing: Key, From and Version", t.Machine.RowType())
	case (c.generated || c.identity != "") && !f.ReadOnly:
		return t.problem(f.Column, `is generated, but field %s would be written; tag it db:"%s,readonly"`, t.fieldName(f), f.Column)
	}
	f.common, f.plainText = isCommon(f.Type, c), f.Type.Kind() == reflect.String && !convertsItself(f.Type)
	f.comparable = f.common || f.Type == reflect.TypeFor[time.Time]() || f.Type == reflect.TypeFor[[16]byte]()
	if want := f.misfit(m); want != "" {
		return t.problem(f.Column, "has type %s, which field %s of type %v does not fit; use %s", c.typeName, t.fieldName(f), f.Type, want)
	}
	if !c.notNull && f.decode(m, cell{}, reflect.New(f.Type).Elem()) != nil {
		return t.problem(f.Column, "may be NULL, which field %s of type %v can't hold; make the column NOT NULL, or use *%v or sql.Null[%v]",
			t.fieldName(f), f.Type, f.Type, f.Type)
	}
	return nil
}

// The expressions of defaults that are the zero value in Go.
var (
	zeroInteger = regexp.MustCompile(`^(0|'0'::[a-z" ]+)$`)
	zeroText    = regexp.MustCompile(`^''::[a-z" ]+$`)
)

// startsAtZero reports whether the column of a row that does not set it has the zero value of the
// field.
func (f *rowField) startsAtZero(m *pgtype.Map) bool {
	switch {
	case f.column.hasDefault && !f.common:
		return false
	case f.column.hasDefault && f.Type.Kind() == reflect.Bool:
		return f.column.defaultSQL == "false"
	case f.column.hasDefault && f.Type.Kind() == reflect.String:
		return zeroText.MatchString(f.column.defaultSQL)
	case f.column.hasDefault:
		return zeroInteger.MatchString(f.column.defaultSQL)
	}
	null := reflect.New(f.Type).Elem()
	return f.column.notNull || f.decode(m, cell{}, null) == nil && null.IsZero()
}

func (t *table) fieldName(f *rowField) string {
	return t.Machine.RowType().Name() + "." + t.Machine.RowType().FieldByIndex(f.Index).Name
}

// isCommon reports whether a field is an integer, a boolean or a text that needs no codec
// of pgx.
func isCommon(t reflect.Type, c *tableColumn) bool {
	if convertsItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Bool:
		return c.base == pgtype.BoolOID
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16:
		return c.isInteger()
	default:
		return t.Kind() == reflect.String && (c.base == pgtype.TextOID || c.base == pgtype.VarcharOID || c.base == pgtype.UUIDOID || len(c.labels) > 0)
	}
}

// scanner is sql.Scanner.
type scanner interface{ Scan(src any) error }

// convertsItself reports whether a type has methods that convert its values, so that its
// kind says nothing.
func convertsItself(t reflect.Type) bool {
	for _, method := range []reflect.Type{
		reflect.TypeFor[driver.Valuer](), reflect.TypeFor[scanner](), reflect.TypeFor[pgtype.TextValuer](), reflect.TypeFor[pgtype.Int64Valuer](),
		reflect.TypeFor[pgtype.BoolValuer](),
	} {
		if t.Implements(method) || reflect.PointerTo(t).Implements(method) {
			return true
		}
	}
	return false
}

// fitting are the Go types for the common PostgreSQL types.
var fitting = map[uint32]string{
	pgtype.Int8OID: "int64", pgtype.Int4OID: "int32", pgtype.Int2OID: "int16", pgtype.BoolOID: "bool",
	pgtype.Float8OID: "float64", pgtype.Float4OID: "float32", pgtype.TextOID: "string", pgtype.VarcharOID: "string", pgtype.BPCharOID: "string",
	pgtype.NumericOID: "pgtype.Numeric, or a decimal type that implements sql.Scanner and driver.Valuer", pgtype.UUIDOID: "string or [16]byte",
	pgtype.TimestamptzOID: "time.Time", pgtype.TimestampOID: "time.Time", pgtype.DateOID: "time.Time", pgtype.IntervalOID: "pgtype.Interval",
	pgtype.TimeOID: "pgtype.Time", pgtype.ByteaOID: "[]byte", pgtype.JSONOID: "a struct or json.RawMessage", pgtype.JSONBOID: "a struct",
}

// misfit returns "" if the field fits its column, and otherwise what would.
func (f *rowField) misfit(m *pgtype.Map) string {
	want := fitting[f.column.base]
	switch {
	case len(f.column.labels) > 0:
		want = "string"
	case want == "" && f.column.array:
		want = "a slice of what fits its elements"
	case want == "":
		want = "a type that pgx can scan it into, or a string"
	}
	if !f.column.notNull {
		want = "a pointer to or sql.Null of: " + want
	}
	if !fitsKind(m, f.Type, f.column.base) || !f.roundTrips(m, sampleOf(f.Type)) && !f.roundTrips(m, reflect.New(f.Type).Elem()) {
		return want
	}
	return ""
}

// fitsKind reports whether no value of a Go type or of a PostgreSQL type is too large for
// the other. pgx would convert such values, or fail only when it meets one.
func fitsKind(m *pgtype.Map, t reflect.Type, oid uint32) bool {
	if t.Kind() == reflect.Pointer {
		return fitsKind(m, t.Elem(), oid)
	}
	if value, ok := nullValue(t); ok {
		return fitsKind(m, value, oid)
	}
	if convertsItself(t) || t == reflect.TypeFor[time.Time]() {
		return true
	}
	if fits, ok := fittingKinds[t.Kind()]; ok {
		return slices.Contains(fits, oid)
	}
	if element, ok := elementOf(m, oid); ok && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		return fitsKind(m, t.Elem(), element)
	}
	return t.Kind() != reflect.String || !slices.Contains(notAsText, oid)
}

// fittingKinds are the PostgreSQL types that fit a kind. Other kinds may fit anything.
var fittingKinds = map[reflect.Kind][]uint32{
	reflect.Int: {pgtype.Int8OID}, reflect.Int64: {pgtype.Int8OID}, reflect.Int32: {pgtype.Int4OID}, reflect.Int16: {pgtype.Int2OID}, reflect.Int8: nil,
	reflect.Uint: nil, reflect.Uint64: nil, reflect.Uint32: nil, reflect.Uint16: nil, reflect.Uint8: nil,
	reflect.Float64: {pgtype.Float8OID}, reflect.Float32: {pgtype.Float4OID}, reflect.Bool: {pgtype.BoolOID},
}

// elementOf returns the type of an array's elements.
func elementOf(m *pgtype.Map, oid uint32) (element uint32, ok bool) {
	typ, known := m.TypeForOID(oid)
	if !known {
		return 0, false
	}
	codec, ok := typ.Codec.(*pgtype.ArrayCodec)
	if !ok || codec.ElementType == nil {
		return 0, false
	}
	return codec.ElementType.OID, true
}

// notAsText are types whose values a string can't hold without a format to agree on.
var notAsText = []uint32{
	pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID, pgtype.Float8OID, pgtype.Float4OID, pgtype.BoolOID, pgtype.ByteaOID,
	pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID, pgtype.IntervalOID, pgtype.TimeOID,
}

// nullValue returns the type argument of a sql.Null.
func nullValue(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct || t.PkgPath() != "database/sql" || t.NumField() != 2 {
		return nil, false
	}
	v, ok := t.FieldByName("V")
	return v.Type, ok
}

// roundTrips reports whether pgx can encode a value of the field for its column, and read
// it back.
func (f *rowField) roundTrips(m *pgtype.Map, value reflect.Value) bool {
	text, null, err := f.encode(m, value)
	if err != nil {
		return false
	}
	return f.decode(m, cell{value: text, isSet: !null, format: pgtype.TextFormatCode}, reflect.New(f.Type).Elem()) == nil
}

// sampleOf returns a value of a type that is not NULL, if the type has one that is easy to
// make.
func sampleOf(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(0, 0)))
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(sampleOf(t.Elem()))
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		v.Set(reflect.Append(v, sampleOf(t.Elem())))
	case t.Kind() == reflect.Struct:
		if valid := v.FieldByName("Valid"); valid.IsValid() && valid.Kind() == reflect.Bool {
			valid.SetBool(true)
			for _, name := range []string{"V", "Int"} {
				if inner := v.FieldByName(name); inner.IsValid() {
					inner.Set(sampleOf(inner.Type()))
				}
			}
		}
	}
	return v
}

// isPredictable reports whether the framework knows what PostgreSQL makes of each value
// of the field when it stores it.
func (f *rowField) isPredictable() bool {
	c := f.column
	isText := f.Type.Kind() == reflect.String || f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Uint8
	switch c.base {
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID, pgtype.BoolOID, pgtype.TextOID, pgtype.VarcharOID, pgtype.UUIDOID,
		pgtype.Float8OID, pgtype.Float4OID, pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID, pgtype.ByteaOID, pgtype.JSONOID:
		return true
	case pgtype.NumericOID:
		return !isText && (c.modifier < 0 || numericScale(c.modifier) >= 0)
	case pgtype.JSONBOID:
		return !isText && isPlain(f.Type, make(map[reflect.Type]bool))
	case pgtype.IntervalOID:
		return c.modifier < 0
	case pgtype.TextArrayOID, pgtype.Int8ArrayOID, pgtype.Int4ArrayOID, pgtype.Int2ArrayOID, pgtype.BoolArrayOID, pgtype.UUIDArrayOID:
		return true
	}
	return len(c.labels) > 0
}

// isPlain reports whether jsonb keeps every value of a type as encoding/json writes it, as
// far as encoding/json can tell: the type contains no JSON text and has no marshalers. seen
// has the types that are being looked at, because a type may contain itself.
func isPlain(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == reflect.TypeFor[time.Time]() || seen[t] {
		return true
	}
	seen[t] = true
	marshals := t.Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]())
	if marshals || t == reflect.TypeFor[json.Number]() {
		return false
	}
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if !isPlain(f.Type, seen) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Array, reflect.Map, reflect.Slice:
		return isPlain(t.Elem(), seen)
	default:
		return t.Kind() != reflect.Interface
	}
}
