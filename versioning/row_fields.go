package versioning

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// A RowField is a field of a machine's row type, and the column that it stands for.
type RowField struct {
	Column string
	Type   reflect.Type
	Index  []int // for reflect.Value.FieldByIndex

	// ReadOnly: the functions get the column's value, but the framework never writes
	// the column.
	ReadOnly bool
}

// RowFields returns the fields of a row type, a struct. The tag of a field names its
// column: `db:"captured"`. The option `db:"fee,readonly"` marks a column that the
// framework reads and does not write. The fields of an embedded struct without a tag count
// as fields of the row.
//
// The error lists all fields that can't be used: without a tag, unexported, or with a
// column that another field has.
func RowFields(row reflect.Type) ([]RowField, error) {
	var problems []error
	var fields []RowField
	columns := make(map[string]string)
	for _, f := range reflect.VisibleFields(row) {
		tag, tagged := f.Tag.Lookup("db")
		column, option, _ := strings.Cut(tag, ",")
		path := row.String() + "." + pathOf(row, f.Index)
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("field %s "+format, append([]any{path}, args...)...))
		}
		switch {
		case f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct:
			continue // its fields follow
		case f.Anonymous && !tagged:
			problem("is embedded by a pointer; embed the struct, or give the field a db tag")
		case isTagged(row, f.Index[:len(f.Index)-1]):
			continue // part of a field that is one column
		case !f.IsExported():
			problem("is unexported, so it can't be read or written; export it")
		case !tagged || column == "" || column == "-":
			problem(`names no column; add a tag such as db:"%s", or move the field out of the row`, strings.ToLower(f.Name))
		case option != "" && option != "readonly":
			problem(`has the unknown option %q in its db tag; the only option is "readonly"`, option)
		case columns[column] != "":
			problem("has the column %q, which field %s has too", column, columns[column])
		default:
			columns[column] = path
			fields = append(fields, RowField{Column: column, Type: f.Type, Index: f.Index, ReadOnly: option == "readonly"})
		}
	}
	return fields, errors.Join(problems...)
}

// isTagged reports whether one of the embedded structs on the way to a field has a tag.
func isTagged(row reflect.Type, way []int) bool {
	for i := range way {
		if _, tagged := row.FieldByIndex(way[:i+1]).Tag.Lookup("db"); tagged {
			return true
		}
	}
	return false
}

func pathOf(row reflect.Type, index []int) string {
	names := make([]string, len(index))
	for i := range index {
		names[i] = row.FieldByIndex(index[:i+1]).Name
	}
	return strings.Join(names, ".")
}

// IsFlat reports whether a Go assignment copies a value of a type completely: it has no
// pointers, slices, maps or interfaces. Strings and time.Time count as flat.
func IsFlat(t reflect.Type) bool { return isFlat(t) }
