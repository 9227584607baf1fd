package versioningtest

import (
	"fmt"
	"maps"
	"reflect"

	"github.com/pawl-go/pawl/internal/rowtype"
	"github.com/pawl-go/pawl/versioning"
)

// rowCodec implements [versioning.RowCodec] for rows in memory, which hold Go values by
// column. A column that is a pointer holds what it points to, or nothing.
type rowCodec struct{ of *rowtype.Type }

// rowData is a row of a machine with functions. It is never changed.
type rowData struct {
	columns versioning.Columns
	written int // the number of the write that made it
}

func newRowCodec(row reflect.Type) (*rowCodec, error) {
	of, err := rowtype.Of(row)
	if err != nil {
		return nil, err
	}
	return &rowCodec{of}, nil
}

// Load implements [versioning.RowCodec].
func (c *rowCodec) Load(data any) (any, error) {
	var columns versioning.Columns
	if from, _ := data.(*rowData); from != nil {
		columns = from.columns
	}
	return c.of.Load(columns)
}

// Store implements [versioning.RowCodec].
func (c *rowCodec) Store(before, row any) (any, error) {
	after := &rowData{columns: make(versioning.Columns)}
	if before, _ := before.(*rowData); before != nil {
		maps.Copy(after.columns, before.columns)
	}
	for _, f := range c.of.Fields {
		from := reflect.ValueOf(row).Elem().FieldByIndex(f.Index)
		switch {
		case f.ReadOnly:
			continue
		case f.Pointer && from.IsNil():
			delete(after.columns, f.Column)
			continue
		case f.Pointer:
			from = from.Elem()
		}
		value, err := f.Value.Clone(from.Interface())
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Column, err)
		}
		after.columns[f.Column] = value
	}
	return after, nil
}

// IsFlat implements [versioning.RowCodec].
func (c *rowCodec) IsFlat() bool { return versioning.IsFlat(c.of.Row) }

// ReadsBack implements [versioning.RowCodec]. Nothing is computed in memory.
func (*rowCodec) ReadsBack(bool, any) bool { return false }

// compute writes the columns that a step has computed.
func (c *rowCodec) compute(into versioning.Columns, step *versioning.Step) {
	after, _ := step.Data.After.(*rowData)
	if after == nil || step.Data.After == step.Data.Before {
		return
	}
	for _, f := range c.of.Fields {
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
