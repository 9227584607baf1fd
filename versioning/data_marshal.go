package versioning

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// marshalerCodec returns the functions of a codec for a type with marshalers.
func marshalerCodec(
	t, marshaler reflect.Type, marshal func(any) ([]byte, error), unmarshal func(any, []byte) error,
) (encode func([]byte, reflect.Value, int) ([]byte, error), decode func(*dataParser, reflect.Value) error, zero func(reflect.Value) bool) {
	nilable, byValue := isNilable(t), t.Implements(marshaler)
	encode = func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
		if nilable && v.IsNil() {
			return append(dst, "null"...), nil
		}
		m := v
		if !byValue || v.CanAddr() { // through the address, because v.Interface would allocate a copy
			m = addressable(v).Addr()
		}
		text, err := marshal(m.Interface())
		if err != nil {
			return dst, err
		}
		return appendString(dst, string(text)), nil
	}
	decode = func(p *dataParser, v reflect.Value) error {
		v.SetZero()
		if nilable && p.null() {
			return nil
		}
		text, err := p.str()
		if err != nil {
			return err
		}
		return unmarshal(v.Addr().Interface(), []byte(text))
	}
	return encode, decode, isExactZero
}

func marshalText(v any) ([]byte, error)      { return v.(encoding.TextMarshaler).MarshalText() }
func unmarshalText(v any, text []byte) error { return v.(encoding.TextUnmarshaler).UnmarshalText(text) }
func marshalJSON(v any) ([]byte, error)      { return v.(json.Marshaler).MarshalJSON() }
func unmarshalJSON(v any, text []byte) error { return v.(json.Unmarshaler).UnmarshalJSON(text) }
