// Package rowtype makes rows, of the types that a machine's functions take, out of Go values by
// column. It is for the stores in memory of versioningtest and pawltest.
package rowtype

import (
	"fmt"
	"reflect"

	"github.com/pawl-go/pawl/versioning"
)

// A Type is a row type. A column that is a pointer holds what it points to, or nothing.
type Type struct {
	Row    reflect.Type
	Fields []Field
}

// A Field is a field of a row type.
type Field struct {
	versioning.RowField

	Value   *versioning.DataType // of what a pointer points to
	Pointer bool
}

// Of returns the type of rows. The error is that of [versioning.RowFields] or
// [versioning.DataTypeOf].
func Of(row reflect.Type) (*Type, error) {
	fields, err := versioning.RowFields(row)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it is about
	}
	t := &Type{Row: row, Fields: make([]Field, 0, len(fields))}
	for _, f := range fields {
		field := Field{RowField: f, Pointer: f.Type.Kind() == reflect.Pointer}
		of := f.Type
		if field.Pointer {
			of = of.Elem()
		}
		if field.Value, err = versioning.DataTypeOf(of); err != nil {
			return nil, err //nolint:wrapcheck // it says what it is about
		}
		t.Fields = append(t.Fields, field)
	}
	return t, nil
}

// Load returns a pointer to a new row, which shares no memory with the values.
func (t *Type) Load(values map[string]any) (any, error) {
	row := reflect.New(t.Row)
	for _, f := range t.Fields {
		value := values[f.Column]
		if value == nil {
			continue
		}
		if reflect.TypeOf(value) != f.Value.Type() {
			return nil, fmt.Errorf("column %q holds a %T, but the field is a %v", f.Column, value, f.Type)
		}
		value, err := f.Value.Clone(value)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Column, err)
		}
		to := row.Elem().FieldByIndex(f.Index)
		if f.Pointer {
			to.Set(reflect.New(f.Value.Type()))
			to = to.Elem()
		}
		to.Set(reflect.ValueOf(value))
	}
	return row.Interface(), nil
}
