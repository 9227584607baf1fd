package versioning

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

func encodeBool(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	return strconv.AppendBool(dst, v.Bool()), nil
}

func decodeBool(p *dataParser, v reflect.Value) error {
	switch p.next() {
	case 't':
		p.pos += len("true")
		v.SetBool(true)
	case 'f':
		p.pos += len("false")
		v.SetBool(false)
	default:
		return p.want("a boolean")
	}
	return nil
}

func encodeInt(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	return strconv.AppendInt(dst, v.Int(), 10), nil
}

func decodeInt(p *dataParser, v reflect.Value) error {
	text, err := p.number()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(text), 10, v.Type().Bits())
	v.SetInt(n)
	return err
}

func encodeUint(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	return strconv.AppendUint(dst, v.Uint(), 10), nil
}

func decodeUint(p *dataParser, v reflect.Value) error {
	text, err := p.number()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(text), 10, v.Type().Bits())
	v.SetUint(n)
	return err
}

func encodeFloat(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	f := v.Float()
	switch {
	case f == 0 && math.Signbit(f):
		return append(dst, `"-0"`...), nil
	case math.IsNaN(f) || math.IsInf(f, 0):
		dst = append(dst, '"')
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		return append(dst, '"'), nil
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, v.Type().Bits()), nil
}

func decodeFloat(p *dataParser, v reflect.Value) error {
	if p.next() == '"' {
		return decodeOddFloat(p, v)
	}
	text, err := p.number()
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(string(text), v.Type().Bits())
	v.SetFloat(f)
	return err
}

// decodeOddFloat decodes the floats that are not numbers in JSON.
func decodeOddFloat(p *dataParser, v reflect.Value) error {
	text, err := p.str()
	if err != nil {
		return err
	}
	switch text {
	case "-0":
		v.SetFloat(math.Copysign(0, -1))
	case "NaN":
		v.SetFloat(math.NaN())
	case "+Inf":
		v.SetFloat(math.Inf(1))
	case "-Inf":
		v.SetFloat(math.Inf(-1))
	default:
		return fmt.Errorf("%q is not a number", text)
	}
	return nil
}

func isZeroFloat(f float64) bool { return f == 0 && !math.Signbit(f) }

func encodeString(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	return appendString(dst, v.String()), nil
}

// appendString appends a string as JSON that jsonb can store.
func appendString(dst []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if !plain {
		return appendOddString(dst, s)
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendOddString is appendString for strings that are not plain ASCII.
func appendOddString(dst []byte, s string) []byte {
	if !StorableText(s) {
		dst = append(dst, `{"base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
		return append(dst, `"}`...)
	}
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func decodeString(p *dataParser, v reflect.Value) error {
	s, err := p.str()
	v.SetString(s)
	return err
}

func encodeBytes(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	if v.IsNil() {
		return append(dst, "null"...), nil
	}
	return appendBytes(dst, v.Bytes()), nil
}

func decodeBytes(p *dataParser, v reflect.Value) error {
	if p.null() {
		v.SetZero()
		return nil
	}
	b, err := p.base64()
	v.SetBytes(b)
	return err
}

func encodeByteArray(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	return appendBytes(dst, addressable(v).Bytes()), nil
}

func decodeByteArray(p *dataParser, v reflect.Value) error {
	b, err := p.base64()
	if err != nil {
		return err
	}
	if len(b) != v.Len() {
		return fmt.Errorf("want %d bytes, got %d", v.Len(), len(b))
	}
	copy(v.Bytes(), b)
	return nil
}

func appendBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// addressable returns v, or a copy if v has no address.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}
