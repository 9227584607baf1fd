package postgres

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// A rowType says how the rows of a machine with functions are read and written. It
// implements [versioning.RowCodec].
type rowType struct {
	row       reflect.Type
	fields    []rowField
	flat      bool
	readsBack bool // the database may compute columns of a field whenever it writes the row
	readsNew  bool // it may do so when it inserts the row

	hasDefaults bool // it does so if the transition that creates the row has no action

	maps sync.Pool
}

// A rowField is a field of the row type and its column.
type rowField struct {
	versioning.RowField

	column *tableColumn
	at     int  // index in table.columns
	common bool // an integer, a boolean or a text, for which no codec of pgx is needed

	comparable bool // values that are equal in Go have the same text
	plainText  bool // a string, which is sent as it is
}

// A rowData is a row in the store's form. It is never changed, except that row is set
// when the data is first needed as a Go value.
type rowData struct {
	cells   []cell    // by field, unless row is set
	xmin    string    // the transaction that wrote the row; empty after a step
	changed []column  // what the step has changed, sorted by column
	one     [1]column // where changed is, if the step has changed one column

	row reflect.Value // the row as a Go value, if its type is flat and it was loaded or stored; nobody changes it
}

// A cell is a value of a column, as PostgreSQL has sent it or as it will be written.
type cell struct {
	value  string
	isSet  bool // false is NULL
	format int16
}

// Load implements [versioning.RowCodec].
func (t *rowType) Load(data any) (any, error) {
	row := reflect.New(t.row)
	from, _ := data.(*rowData)
	switch {
	case from == nil:
		return row.Interface(), nil
	case from.row.IsValid():
		row.Elem().Set(from.row)
		return row.Interface(), nil
	}
	m := t.maps.Get().(*pgtype.Map)
	defer t.maps.Put(m)
	for i := range t.fields {
		if err := t.fields[i].decode(m, from.cells[i], row.Elem().FieldByIndex(t.fields[i].Index)); err != nil {
			return nil, err
		}
	}
	if t.flat {
		from.row = reflect.New(t.row).Elem()
		from.row.Set(row.Elem())
	}
	return row.Interface(), nil
}

// Store implements [versioning.RowCodec]. It encodes the fields that have changed, or all
// of them if there was no row before.
func (t *rowType) Store(before, row any) (any, error) {
	from, _ := before.(*rowData)
	was, err := t.valueOf(from)
	if err != nil {
		return nil, err
	}
	after := t.from(from)
	is := reflect.ValueOf(row).Elem()
	m := t.maps.Get().(*pgtype.Map)
	defer t.maps.Put(m)
	for i := range t.fields {
		f := &t.fields[i]
		value := is.FieldByIndex(f.Index)
		if f.ReadOnly || from != nil && f.isSame(was.FieldByIndex(f.Index), value) {
			continue
		}
		text, null, err := f.encode(m, value)
		if err != nil {
			return nil, err
		}
		if from != nil && f.hasText(m, was.FieldByIndex(f.Index), text, null) {
			continue
		}
		after.changed = append(after.changed, column{at: f.at, text: text, null: null})
		c := cell{value: text, isSet: !null, format: pgtype.TextFormatCode}
		switch {
		case !t.flat:
			after.cells[i] = c
		case !f.isExact(): // the text may be rounded, for example
			if err := f.decode(m, c, value); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(after.changed, byColumn)
	if t.flat {
		after.row = reflect.New(t.row).Elem()
		after.row.Set(is)
		t.restore(after.row, was)
	}
	return after, nil
}

// from returns the data of a row to which no change has been made yet.
func (t *rowType) from(before *rowData) *rowData {
	after := &rowData{}
	after.changed = after.one[:0]
	if !t.flat {
		after.cells = make([]cell, len(t.fields))
	}
	if before == nil {
		after.changed = make([]column, 0, len(t.fields))
		return after
	}
	copy(after.cells, before.cells)
	return after
}

// restore sets the read-only fields of a row to what they were.
func (t *rowType) restore(row, was reflect.Value) {
	for i := range t.fields {
		if f := &t.fields[i]; f.ReadOnly {
			row.FieldByIndex(f.Index).Set(was.FieldByIndex(f.Index))
		}
	}
}

// valueOf returns a row as a Go value: the zero value if there is none.
func (t *rowType) valueOf(data *rowData) (reflect.Value, error) {
	if data != nil && data.row.IsValid() {
		return data.row, nil
	}
	row, err := t.Load(data)
	if err != nil {
		return reflect.Value{}, err
	}
	return reflect.ValueOf(row).Elem(), nil
}

// IsFlat implements [versioning.RowCodec].
func (t *rowType) IsFlat() bool { return t.flat }

// ReadsBack implements [versioning.RowCodec].
func (t *rowType) ReadsBack(created bool, after any) bool {
	return t.readsBack || created && (t.readsNew || t.hasDefaults && after == nil)
}

// hasFields reports whether functions see columns of the row at all.
func (t *rowType) hasFields() bool { return t != nil && len(t.fields) > 0 }

// hasFieldOf reports whether a field has one of some columns.
func (t *rowType) hasFieldOf(columns []bool) bool {
	return t != nil && slices.ContainsFunc(t.fields, func(f rowField) bool { return columns[f.at] })
}

// readSQL returns the columns to read besides those that every row has: which transaction
// wrote the row, and the fields. The table's fingerprint makes the text another one after
// the table was altered: a prepared statement can't return values of another type.
func (t *rowType) readSQL(of fingerprint) string {
	if !t.hasFields() {
		return ""
	}
	columns := []string{", t.xmin::text"}
	for i := range t.fields {
		columns = append(columns, "t."+t.fields[i].column.sqlName())
	}
	return strings.Join(columns, ", ") + " /* " + of.value + " */"
}

// skip returns destinations that make pgx skip the columns of readSQL.
func (t *rowType) skip() []any {
	if !t.hasFields() {
		return nil
	}
	return make([]any, 1+len(t.fields))
}

// read returns the data of a row with the columns of readSQL. It copies the values.
func (t *rowType) read(raw [][]byte, described []pgconn.FieldDescription) *rowData {
	size := 0
	for _, value := range raw {
		size += len(value)
	}
	var all strings.Builder // one allocation for all values
	all.Grow(size)
	for _, value := range raw {
		all.Write(value)
	}
	rest := all.String()
	data := &rowData{xmin: rest[:len(raw[0])], cells: make([]cell, len(t.fields))}
	rest = rest[len(raw[0]):]
	for i, value := range raw[1:] {
		if value != nil {
			data.cells[i] = cell{value: rest[:len(value)], isSet: true, format: described[1+i].Format}
			rest = rest[len(value):]
		}
	}
	return data
}

// computedBy returns the columns that a step's functions have changed.
func computedBy(s *versioning.Step) []column {
	if s.Data == nil || s.Data.After == s.Data.Before {
		return nil
	}
	after, _ := s.Data.After.(*rowData)
	if after == nil {
		return nil
	}
	return after.changed
}
