package pawltest

import (
	"fmt"
	"reflect"

	"github.com/pawl-go/pawl/versioning"
)

// A rowType makes rows for functions. It is for machines that have some.
type rowType struct {
	row    reflect.Type
	fields []rowField
}

type rowField struct {
	versioning.RowField

	value   *versioning.DataType // of what a pointer points to
	pointer bool
}

func newRowType(row reflect.Type) (*rowType, error) {
	fields, err := versioning.RowFields(row)
	if err != nil {
		return nil, err
	}
	t := &rowType{row: row}
	for _, f := range fields {
		field := rowField{RowField: f, pointer: f.Type.Kind() == reflect.Pointer}
		of := f.Type
		if field.pointer {
			of = of.Elem()
		}
		if field.value, err = versioning.DataTypeOf(of); err != nil {
			return nil, err
		}
		t.fields = append(t.fields, field)
	}
	return t, nil
}

// load returns a pointer to a new row, which shares no memory with the values.
func (t *rowType) load(values rowValues) (any, error) {
	row := reflect.New(t.row)
	for _, f := range t.fields {
		value := values[f.Column]
		if value == nil {
			continue
		}
		if reflect.TypeOf(value) != f.value.Type() {
			return nil, fmt.Errorf("column %q holds a %T, but the field is a %v", f.Column, value, f.Type)
		}
		value, err := f.value.Clone(value)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Column, err)
		}
		to := row.Elem().FieldByIndex(f.Index)
		if f.pointer {
			to.Set(reflect.New(f.value.Type()))
			to = to.Elem()
		}
		to.Set(reflect.ValueOf(value))
	}
	return row.Interface(), nil
}

// appendTo appends a row's columns as text, in which equal rows are equal. row is a pointer.
func (t *rowType) appendTo(b []byte, row any) []byte {
	for i, f := range t.fields {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, f.Column...), '=')
		from := reflect.ValueOf(row).Elem().FieldByIndex(f.Index)
		if f.pointer {
			if from.IsNil() {
				b = append(b, "NULL"...)
				continue
			}
			from = from.Elem()
		}
		b = appendData(b, f.value, from.Interface())
	}
	return b
}

// appendData appends a value as text.
func appendData(b []byte, t *versioning.DataType, value any) []byte {
	out, err := t.AppendTo(b, value)
	if err != nil {
		return fmt.Appendf(b, "%#v", value)
	}
	return out
}

// value returns a row, not a pointer to it.
func (t *rowType) value(values rowValues) (any, error) {
	row, err := t.load(values)
	if err != nil {
		return nil, err
	}
	return reflect.ValueOf(row).Elem().Interface(), nil
}

// others returns the columns that functions do not see.
func (t *rowType) others(columns versioning.Columns) versioning.Columns {
	var others versioning.Columns
	for name, value := range columns {
		if t.has(name) {
			continue
		}
		if others == nil {
			others = make(versioning.Columns)
		}
		others[name] = value
	}
	return others
}

func (t *rowType) has(column string) bool {
	for i := range t.fields {
		if t.fields[i].Column == column {
			return true
		}
	}
	return false
}
