package versioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// A DataType turns the values of one Go type into JSON text and back. Decode returns
// exactly the value that Encode was given, even if PostgreSQL stored the text as jsonb in
// between, which reorders the fields of objects and rewrites numbers. Equal values have
// equal texts in every process, so the text can be hashed.
//
// What is not kept: pointers to the same variable become pointers to equal variables, a
// time.Time loses its monotonic clock reading and the name of its location, a NaN loses
// its payload, and slices and maps lose their spare capacity. A type with marshalers is
// kept as exactly as its marshalers keep it.
//
// # Text
//
//   - A struct is an object. A field has the name of its json tag, or else its Go name;
//     everything else in the tag is ignored. Fields with the zero value are left out.
//     Embedded structs are fields too.
//   - Numbers and booleans are themselves, with all digits. The floats -0, NaN, +Inf and
//     -Inf are strings.
//   - A string is a string, or {"base64":"..."} if jsonb can't store it: with a NUL or
//     invalid UTF-8. Slices and arrays of bytes are strings in base64.
//   - A time.Time is a string as in RFC 3339, with nanoseconds and its offset.
//   - Slices and arrays are arrays. A map is an array of pairs, sorted by key.
//   - A pointer is what it points to, in an array of one if that may be null.
//   - A nil slice, map or pointer is null.
//   - A type with MarshalText and UnmarshalText is a string with its text; one with
//     MarshalJSON and UnmarshalJSON is a string that contains its JSON, which jsonb can't
//     rewrite there. Slices of bytes are bytes even if they have these methods. A struct
//     that embeds a type with such methods goes by its fields: it may have the methods
//     only because of the embedding, and then they ignore its other fields.
//
// A DataType can't be changed, and may be used by several goroutines.
type DataType struct {
	goType reflect.Type
	name   string // for the paths in errors
	codec  *dataCodec
	flat   bool
}

// DataTypeOf returns the DataType of a type. It fails if values of the type can't be
// stored: if they contain an interface, chan, func, complex number, uintptr or unsafe
// pointer, an unexported field in a struct without marshalers, two fields of one name, or
// a map key that holds a pointer or a time.Time, because such keys would not be equal to
// themselves after decoding. The error names all such fields.
//
// It analyzes the type each time, so keep the result.
func DataTypeOf(t reflect.Type) (*DataType, error) {
	if t == nil {
		return nil, errors.New("nil has no type, so it can't be stored")
	}
	d := &DataType{goType: t, name: t.Name(), flat: isFlat(t)}
	if d.name == "" {
		d.name = t.String()
	}
	analysis := dataAnalysis{codecs: make(map[reflect.Type]*dataCodec)}
	d.codec = analysis.codecOf(t, d.name)
	if err := errors.Join(analysis.problems...); err != nil {
		return nil, err
	}
	return d, nil
}

// isFlat reports whether an assignment copies values of type t completely.
func isFlat(t reflect.Type) bool {
	if t == timeType { // it has a pointer, to a location that can't be changed
		return true
	}
	switch t.Kind() {
	case reflect.Array:
		return isFlat(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !isFlat(f.Type) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	default:
		return true
	}
}

// Type returns the Go type.
func (d *DataType) Type() reflect.Type { return d.goType }

// Flat reports whether an assignment copies values of the type completely, because they
// contain no pointers, slices, maps or interfaces. Strings and time.Time are flat.
func (d *DataType) Flat() bool { return d.flat }

// Encode returns a value as compact JSON. It fails if value has another type, if a
// marshaler fails, if a time has a year outside 0 to 9999, if two keys of a map have the
// same text, and if pointers, slices and maps are nested more than 100 deep, as they are
// in a cycle.
func (d *DataType) Encode(value any) ([]byte, error) {
	text, err := d.AppendTo(make([]byte, 0, 128), value)
	if err != nil {
		return nil, err
	}
	return text, nil
}

// AppendTo is like Encode but appends the JSON to dst, which saves an allocation. If it
// fails, it returns dst as it was.
func (d *DataType) AppendTo(dst []byte, value any) ([]byte, error) {
	if err := d.check(value); err != nil {
		return dst, err
	}
	text, err := d.codec.encode(dst, reflect.ValueOf(value), 0)
	if err != nil {
		return dst, inData(d.name, err)
	}
	return text, nil
}

// Decode returns the value that Encode encoded, with the type of d. It shares no memory
// with data or with another value. Fields that are not in data get the zero value. Decode
// fails if data is not what Encode may have returned: a field is unknown, a value has the
// wrong type, a number is out of range.
func (d *DataType) Decode(data []byte) (any, error) {
	if !json.Valid(data) || !utf8.Valid(data) {
		return nil, inData(d.name, errors.New("not valid JSON"))
	}
	return d.decode(data)
}

func (d *DataType) decode(valid []byte) (any, error) {
	v := reflect.New(d.goType).Elem()
	if err := d.codec.decode(&dataParser{text: valid}, v); err != nil {
		return nil, inData(d.name, err)
	}
	return v.Interface(), nil
}

// Clone returns a deep copy of a value, by encoding and decoding it. A value of a flat
// type is returned as it is.
func (d *DataType) Clone(value any) (any, error) {
	if d.flat {
		return value, d.check(value)
	}
	text, err := d.Encode(value)
	if err != nil {
		return nil, err
	}
	return d.decode(text)
}

func (d *DataType) check(value any) error {
	if reflect.TypeOf(value) != d.goType {
		return fmt.Errorf("data has the type %T, want %s", value, d.goType)
	}
	return nil
}

// A dataError says where in a value something is wrong.
type dataError struct {
	path string
	err  error
}

func (e *dataError) Error() string { return e.path + ": " + e.err.Error() }
func (e *dataError) Unwrap() error { return e.err }

// inData puts a step in front of the path of an error, such as ".Amount" or "[3]".
func inData(step string, err error) error {
	if e, ok := err.(*dataError); ok { //nolint:errorlint // one inside another error is a marshaler's
		return &dataError{path: step + e.path, err: e.err}
	}
	return &dataError{path: step, err: err}
}
