// Package jsonvalue decodes the values of records as JSON. It behaves like encoding/json, except
// for text that encoding/json alters, and takes about half the time.
package jsonvalue

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// A Decoder decodes values into Ts. [For] returns one. It is safe for concurrent use.
type Decoder[T any] struct{ options jsonv2.Options }

// For returns the decoder for a type.
func For[T any]() Decoder[T] { return Decoder[T]{optionsFor(reflect.TypeFor[T]())} }

// Decode decodes a value. nil is an error. encoding/json validates the whole text before it
// decodes it. The first try does not, which saves a tenth of the time. It accepts nothing that
// encoding/json refuses, but it refuses more: some mistakes in the tags of T, for example.
func (d Decoder[T]) Decode(value []byte) (T, error) {
	var into T
	if value == nil {
		return into, errors.New("record has no value (a tombstone)")
	}
	if jsonv2.Unmarshal(value, &into, d.options, jsonv1.ReportErrorsWithLegacySemantics(false)) == nil {
		return into, nil
	}
	var again T
	if err := jsonv2.Unmarshal(value, &again, d.options); err != nil {
		return again, fmt.Errorf("decode JSON: %w", err)
	}
	return again, nil
}

// LikeStandard makes the decoder behave like encoding/json, except for text that
// encoding/json alters. The decoder is the one that encoding/json is built on since Go 1.27.
var LikeStandard = jsonv2.JoinOptions(
	jsonv1.DefaultOptionsV1(),
	jsontext.AllowInvalidUTF8(false), // the last option wins; this one covers escapes too
)

// withNumbers also decodes json.Number: the decoder has its own Number type, and before Go 1.27
// it decodes encoding/json's like any other string. It asks for each value whether the value is
// one, which takes time.
var withNumbers = jsonv2.JoinOptions(LikeStandard,
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, n *json.Number) error {
		return (*jsonv1.Number)(n).UnmarshalJSONFrom(d)
	})),
)

// optionsFor returns the options for values of a type.
func optionsFor(t reflect.Type) jsonv2.Options {
	if mayHaveNumber(t, make(map[reflect.Type]bool)) {
		return withNumbers
	}
	return LikeStandard
}

// mayHaveNumber reports whether decoding a value of a type may decode a json.Number: it
// contains one, or a method decodes it with the options of the whole. seen holds the types
// that were already looked at.
func mayHaveNumber(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == reflect.TypeFor[json.Number]() || reflect.PointerTo(t).Implements(reflect.TypeFor[jsonv2.UnmarshalerFrom]()) {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		return mayHaveNumber(t.Key(), seen) || mayHaveNumber(t.Elem(), seen)
	case reflect.Array, reflect.Pointer, reflect.Slice:
		return mayHaveNumber(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if mayHaveNumber(f.Type, seen) {
				return true
			}
		}
	default: // an interface too: it gets a json.Number only if the decoder makes one, and it does not
	}
	return false
}
