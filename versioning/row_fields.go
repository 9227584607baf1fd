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
		_, tagged := f.Tag.Lookup("db")
		isEmbedded := f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct
		if isEmbedded || isTagged(row, f.Index[:len(f.Index)-1]) {
			continue // its fields follow, or it is part of a field that is one column
		}
		path := row.String() + "." + pathOf(row, f.Index)
		field, err := rowFieldOf(f)
		if err == nil && columns[field.Column] != "" {
			err = fmt.Errorf("has the column %q, which field %s has too", field.Column, columns[field.Column])
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("field %s %w", path, err))
			continue
		}
		columns[field.Column] = path
		fields = append(fields, field)
	}
	return fields, errors.Join(problems...)
}

func rowFieldOf(f reflect.StructField) (RowField, error) {
	tag, tagged := f.Tag.Lookup("db")
	column, option, _ := strings.Cut(tag, ",")
	switch {
	case f.Anonymous && !tagged:
		return RowField{}, errors.New("is embedded by a pointer; embed the struct, or give the field a db tag")
	case !f.IsExported():
		return RowField{}, errors.New("is unexported, so it can't be read or written; export it")
	case column == "" || column == "-":
		return RowField{}, fmt.Errorf(`names no column; add a tag such as db:"%s", or move the field out of the row`, strings.ToLower(f.Name))
	case option != "" && option != "readonly":
		return RowField{}, fmt.Errorf(`has the unknown option %q in its db tag; the only option is "readonly"`, option)
	}
	return RowField{Column: column, Type: f.Type, Index: f.Index, ReadOnly: option == "readonly"}, nil
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
