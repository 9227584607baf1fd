package codec

import (
	"encoding/json"
	"fmt"

	"github.com/pawl-go/pawl/internal/jsonvalue"
	"github.com/pawl-go/pawl/versioning"
)

// JSON returns the codec for values that are one JSON document each. Fields that T does not have
// are ignored.
//
// It decodes like [json.Unmarshal], in about half the time, but refuses text that json.Unmarshal
// alters: bytes that are not UTF-8, and escapes of half a surrogate pair. It encodes like
// [json.Marshal]. It decodes no record without a value: see [Optional].
func JSON[T any]() Codec[T] { return jsonCodec[T]{jsonvalue.For[T]()} }

type jsonCodec[T any] struct{ decoder jsonvalue.Decoder[T] }

// Decode implements [Codec].
func (c jsonCodec[T]) Decode(r *versioning.Record) (T, error) { return c.decoder.Decode(r.Value) }

// Encode implements [Codec].
func (c jsonCodec[T]) Encode(_ string, value T) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return data, nil
}

// Optional returns a codec for values that may be missing: a record without a value (a tombstone)
// is decoded to nil, and nil is encoded as a message without one. Other values are pointers to
// what c decodes.
func Optional[T any](c Codec[T]) Codec[*T] { return optional[T]{c} }

type optional[T any] struct{ codec Codec[T] }

// Decode implements [Codec].
func (c optional[T]) Decode(r *versioning.Record) (*T, error) {
	if r.Value == nil {
		return nil, nil //nolint:nilnil // a tombstone
	}
	value, err := c.codec.Decode(r)
	if err != nil {
		return nil, err
	}
	return &value, nil
}

// Encode implements [Codec].
func (c optional[T]) Encode(topic string, value *T) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	return c.codec.Encode(topic, *value)
}
