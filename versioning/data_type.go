package versioning

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A dataCodec encodes and decodes the values of one Go type. It is made once, so that
// nothing about the type has to be found out again for each value.
type dataCodec struct {
	// encode appends a value. depth counts the pointers, slices and maps around it.
	encode func(dst []byte, v reflect.Value, depth int) ([]byte, error)

	// decode reads a value into v, which can be set and may hold another value.
	decode func(p *dataParser, v reflect.Value) error

	// zero reports whether a value is the zero value, and so is left out of a struct.
	// Unlike [reflect.Value.IsZero], it is false for a float of -0.
	zero func(v reflect.Value) bool

	// unequal says that a value may not be == to itself after decoding: it holds a
	// pointer or a time.
	unequal bool
}

// A dataField is a field of a struct.
type dataField struct {
	index int
	path  string // "." and the Go name
	name  string
	label []byte // a comma, the name as JSON, and a colon
	codec *dataCodec
}

var (
	timeType            = reflect.TypeFor[time.Time]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonMarshalerType   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// notStorable says what can't be stored.
var notStorable = map[reflect.Kind]string{
	reflect.Interface:     "an interface",
	reflect.Chan:          "a chan",
	reflect.Func:          "a func",
	reflect.Complex64:     "a complex number",
	reflect.Complex128:    "a complex number",
	reflect.Uintptr:       "a uintptr",
	reflect.UnsafePointer: "an unsafe pointer",
}

// A dataAnalysis makes the codecs of a type and of the types inside it.
type dataAnalysis struct {
	codecs   map[reflect.Type]*dataCodec // without those that have problems
	problems []error
}

// codecOf returns the codec of a type. The codec of a type inside itself is returned
// before it is complete.
func (a *dataAnalysis) codecOf(t reflect.Type, path string) *dataCodec {
	if c, ok := a.codecs[t]; ok {
		return c
	}
	c := &dataCodec{zero: reflect.Value.IsZero}
	a.codecs[t] = c
	before := len(a.problems)
	switch {
	case notStorable[t.Kind()] != "":
		a.problem(path, notStorable[t.Kind()]+" can't be stored")
	case t == timeType:
		c.encode, c.decode, c.zero, c.unequal = encodeTime, decodeTime, isZeroTime, true
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		c.encode, c.decode = encodeBytes, decodeBytes
	case marshals(t, textMarshalerType, textUnmarshalerType):
		c.encode, c.decode, c.zero = marshalerCodec(t, textMarshalerType, marshalText, unmarshalText)
	case marshals(t, jsonMarshalerType, jsonUnmarshalerType):
		c.encode, c.decode, c.zero = marshalerCodec(t, jsonMarshalerType, marshalJSON, unmarshalJSON)
	default:
		a.byKind(c, t, path)
	}
	if len(a.problems) > before {
		delete(a.codecs, t) // report the problems of this type for every field that has it
	}
	return c
}

func (a *dataAnalysis) problem(path, text string) {
	a.problems = append(a.problems, inData(path, errors.New(text)))
}

func (a *dataAnalysis) byKind(c *dataCodec, t reflect.Type, path string) {
	switch t.Kind() {
	case reflect.Bool:
		c.encode, c.decode = encodeBool, decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		c.encode, c.decode = encodeInt, decodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		c.encode, c.decode = encodeUint, decodeUint
	case reflect.Float32, reflect.Float64:
		c.encode, c.decode, c.zero = encodeFloat, decodeFloat, isExactZero
	case reflect.String:
		c.encode, c.decode = encodeString, decodeString
	case reflect.Slice:
		elem := a.codecOf(t.Elem(), path+"[]")
		c.encode, c.decode = encodeSlice(elem), decodeSlice(elem)
	case reflect.Array:
		a.array(c, t, path)
	case reflect.Map:
		key, elem := a.codecOf(t.Key(), path+"[].key"), a.codecOf(t.Elem(), path+"[].value")
		if key.unequal {
			a.problem(path+"[].key", "a map key with a pointer or a time.Time can't be stored: it would not be found after decoding")
		}
		c.encode, c.decode = encodeMap(t, key, elem), decodeMap(t, key, elem)
	case reflect.Pointer:
		c.unequal = true
		elem := a.codecOf(t.Elem(), path)
		wrap := isNilable(t.Elem())
		c.encode, c.decode = encodePointer(elem, wrap), decodePointer(t.Elem(), elem, wrap)
	case reflect.Struct:
		a.structure(c, t, path)
	default:
		a.problem(path, "a "+t.Kind().String()+" can't be stored")
	}
}

// isNilable reports whether values of a type may be encoded as null.
func isNilable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

func (a *dataAnalysis) array(c *dataCodec, t reflect.Type, path string) {
	if t.Elem().Kind() == reflect.Uint8 {
		c.encode, c.decode = encodeByteArray, decodeByteArray
		return
	}
	elem := a.codecOf(t.Elem(), path+"[]")
	c.unequal = elem.unequal
	c.encode, c.decode = encodeArray(elem), decodeArray(elem)
	c.zero = func(v reflect.Value) bool {
		for i := range v.Len() {
			if !elem.zero(v.Index(i)) {
				return false
			}
		}
		return true
	}
}

// structure makes the codec of a struct that goes by its fields.
func (a *dataAnalysis) structure(c *dataCodec, t reflect.Type, path string) {
	var fields []dataField
	named := make(map[string]string) // the Go names of the fields, by name
	for i := range t.NumField() {
		f := t.Field(i)
		here := path + "." + f.Name
		if !f.IsExported() {
			a.problem(here, "an unexported field can't be stored, except in a struct with MarshalText and UnmarshalText, or MarshalJSON and UnmarshalJSON")
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			name = f.Name
		}
		if !StorableText(name) {
			a.problem(here, fmt.Sprintf("the name %q in its json tag can't be stored", name))
			continue
		}
		if other, ok := named[name]; ok {
			a.problem(here, fmt.Sprintf("field %s is named %q too", other, name))
			continue
		}
		named[name] = f.Name
		field := dataField{index: i, path: "." + f.Name, name: name, label: append(appendString([]byte{','}, name), ':'), codec: a.codecOf(f.Type, here)}
		c.unequal = c.unequal || field.codec.unequal
		fields = append(fields, field)
	}
	slices.SortFunc(fields, func(x, y dataField) int { return strings.Compare(x.name, y.name) })
	c.encode, c.decode = encodeStruct(fields), decodeStruct(fields)
	c.zero = func(v reflect.Value) bool {
		for i := range fields {
			if !fields[i].codec.zero(v.Field(fields[i].index)) {
				return false
			}
		}
		return true
	}
}

// marshals reports whether a type, or the pointer to it, has the methods of both
// interfaces. A struct that may have them from an embedded field has not.
func marshals(t, marshaler, unmarshaler reflect.Type) bool {
	implements := func(t, i reflect.Type) bool { return t.Implements(i) || reflect.PointerTo(t).Implements(i) }
	if !implements(t, marshaler) || !implements(t, unmarshaler) || t.Kind() == reflect.Pointer {
		return false
	}
	if t.Kind() != reflect.Struct {
		return true
	}
	for f := range t.Fields() {
		if f.Anonymous && (implements(f.Type, marshaler) || implements(f.Type, unmarshaler)) {
			return false
		}
	}
	return true
}

// isExactZero is [reflect.Value.IsZero] except for floats of -0. It also works for
// unexported fields.
func isExactZero(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		return isZeroFloat(v.Float())
	case reflect.Array:
		for i := range v.Len() {
			if !isExactZero(v.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range v.NumField() { //nolint:modernize // v.Fields allocates
			if !isExactZero(v.Field(i)) {
				return false
			}
		}
		return true
	default:
		return v.IsZero()
	}
}
