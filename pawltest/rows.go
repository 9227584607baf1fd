package pawltest

import (
	"fmt"
	"reflect"

	"github.com/pawl-go/pawl/internal/rowtype"
	"github.com/pawl-go/pawl/versioning"
)

// A rowType makes rows for functions. It is for machines that have some.
type rowType struct{ *rowtype.Type }

func newRowType(row reflect.Type) (*rowType, error) {
	t, err := rowtype.Of(row)
	if err != nil {
		return nil, err
	}
	return &rowType{t}, nil
}

// appendTo appends a row's columns as text, in which equal rows are equal. row is a pointer.
func (t *rowType) appendTo(b []byte, row any) []byte {
	for i, f := range t.Fields {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, f.Column...), '=')
		from := reflect.ValueOf(row).Elem().FieldByIndex(f.Index)
		if f.Pointer {
			if from.IsNil() {
				b = append(b, "NULL"...)
				continue
			}
			from = from.Elem()
		}
		b = appendData(b, f.Value, from.Interface())
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
	row, err := t.Load(values)
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
	for i := range t.Fields {
		if t.Fields[i].Column == column {
			return true
		}
	}
	return false
}
