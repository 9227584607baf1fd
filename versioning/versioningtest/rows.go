package versioningtest

import (
	"fmt"
	"maps"
	"reflect"

	"github.com/pawl-go/pawl/versioning"
)

// rowCodec implements [versioning.RowCodec] for rows in memory, which hold Go values by
// column. A column that is a pointer holds what it points to, or nothing.
type rowCodec struct {
	row    reflect.Type
	fields []rowField
}

type rowField struct {
	versioning.RowField

	value   *versioning.DataType
	pointer bool
}

// rowData is a row of a machine with functions. It is never changed.
type rowData struct {
	columns versioning.Columns
	written int // the number of the write that made it
}

func newRowCodec(row reflect.Type) (*rowCodec, error) {
	fields, err := versioning.RowFields(row)
	if err != nil {
		return nil, err
	}
	c := &rowCodec{row: row}
	for _, f := range fields {
		field := rowField{RowField: f, pointer: f.Type.Kind() == reflect.Pointer}
		value := f.Type
		if field.pointer {
			value = f.Type.Elem()
		}
		if field.value, err = versioning.DataTypeOf(value); err != nil {
			return nil, err
		}
		c.fields = append(c.fields, field)
	}
	return c, nil
}

// Load implements [versioning.RowCodec].
func (c *rowCodec) Load(data any) (any, error) {
	row := reflect.New(c.row)
	from, _ := data.(*rowData)
	if from == nil {
		return row.Interface(), nil
	}
	for _, f := range c.fields {
		value := from.columns[f.Column]
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

// Store implements [versioning.RowCodec].
func (c *rowCodec) Store(before, row any) (any, error) {
	after := &rowData{columns: make(versioning.Columns)}
	if before, _ := before.(*rowData); before != nil {
		maps.Copy(after.columns, before.columns)
	}
	for _, f := range c.fields {
		from := reflect.ValueOf(row).Elem().FieldByIndex(f.Index)
		switch {
		case f.ReadOnly:
			continue
		case f.pointer && from.IsNil():
			delete(after.columns, f.Column)
			continue
		case f.pointer:
			from = from.Elem()
		}
		value, err := f.value.Clone(from.Interface())
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Column, err)
		}
		after.columns[f.Column] = value
	}
	return after, nil
}

// IsFlat implements [versioning.RowCodec].
func (c *rowCodec) IsFlat() bool { return versioning.IsFlat(c.row) }

// ReadsBack implements [versioning.RowCodec]. Nothing is computed in memory.
func (*rowCodec) ReadsBack(bool, any) bool { return false }

// compute writes the columns that a step has computed.
func (c *rowCodec) compute(into versioning.Columns, step *versioning.Step) {
	after, _ := step.Data.After.(*rowData)
	if after == nil || step.Data.After == step.Data.Before {
		return
	}
	for _, f := range c.fields {
		if f.ReadOnly {
			continue
		}
		if value, ok := after.columns[f.Column]; ok {
			into[f.Column] = value
		} else {
			delete(into, f.Column)
		}
	}
}
