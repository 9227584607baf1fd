package versioning

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// maxDataDepth limits how deep pointers, slices and maps may be nested.
const maxDataDepth = 100

var errDataDepth = fmt.Errorf("pointers, slices and maps are nested more than %d deep, or in a cycle", maxDataDepth)

func encodeStruct(fields []dataField) func([]byte, reflect.Value, int) ([]byte, error) {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		start := len(dst)
		for i := range fields {
			f := &fields[i]
			value := v.Field(f.index)
			if f.codec.zero(value) {
				continue
			}
			dst = append(dst, f.label...)
			var err error
			if dst, err = f.codec.encode(dst, value, depth); err != nil {
				return dst, inData(f.path, err)
			}
		}
		if len(dst) == start {
			return append(dst, "{}"...), nil
		}
		dst[start] = '{' // instead of the comma
		return append(dst, '}'), nil
	}
}

func encodeSlice(elem *dataCodec) func([]byte, reflect.Value, int) ([]byte, error) {
	elements := encodeArray(elem)
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		if depth == maxDataDepth {
			return dst, errDataDepth
		}
		return elements(dst, v, depth+1)
	}
}

func encodeArray(elem *dataCodec) func([]byte, reflect.Value, int) ([]byte, error) {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = elem.encode(dst, v.Index(i), depth); err != nil {
				return dst, inData(atIndex(i), err)
			}
		}
		return append(dst, ']'), nil
	}
}

func atIndex(i int) string { return "[" + strconv.Itoa(i) + "]" }

func encodePointer(elem *dataCodec, wrap bool) func([]byte, reflect.Value, int) ([]byte, error) {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		if depth == maxDataDepth {
			return dst, errDataDepth
		}
		if !wrap {
			return elem.encode(dst, v.Elem(), depth+1)
		}
		dst, err := elem.encode(append(dst, '['), v.Elem(), depth+1)
		return append(dst, ']'), err
	}
}

// A dataPair is a key and a value of a map, as text.
type dataPair struct {
	key, value []byte
	nan        bool // the key is or contains a NaN, so it may occur again
}

func encodeMap(t reflect.Type, key, elem *dataCodec) func([]byte, reflect.Value, int) ([]byte, error) {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		if depth == maxDataDepth {
			return dst, errDataDepth
		}
		pairs, err := encodePairs(t, v, key, elem, depth+1)
		if err != nil {
			return dst, err
		}
		dst = append(dst, '[')
		for i, p := range pairs {
			if i > 0 {
				dst = append(dst, ',')
				if !p.nan && bytes.Equal(p.key, pairs[i-1].key) {
					return dst, fmt.Errorf("two keys have the text %s", p.key)
				}
			}
			dst = append(append(dst, '['), p.key...)
			dst = append(append(dst, ','), p.value...)
			dst = append(dst, ']')
		}
		return append(dst, ']'), nil
	}
}

// encodePairs returns the pairs of a map in the order of their texts.
func encodePairs(t reflect.Type, v reflect.Value, key, elem *dataCodec, depth int) ([]dataPair, error) {
	pairs := make([]dataPair, 0, v.Len())
	k, e := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
	for i := v.MapRange(); i.Next(); {
		k.SetIterKey(i)
		e.SetIterValue(i)
		text, err := key.encode(nil, k, depth)
		if err != nil {
			return nil, inData("[].key", err)
		}
		split := len(text)
		if text, err = elem.encode(text, e, depth); err != nil {
			return nil, inData("["+string(text[:split])+"]", err)
		}
		pairs = append(pairs, dataPair{key: text[:split], value: text[split:], nan: !k.Equal(k)}) //nolint:gocritic // a NaN is not equal to itself
	}
	slices.SortFunc(pairs, func(x, y dataPair) int {
		if c := bytes.Compare(x.key, y.key); c != 0 {
			return c
		}
		return bytes.Compare(x.value, y.value) // of keys that are NaN
	})
	return pairs, nil
}
