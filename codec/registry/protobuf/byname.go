package protobuf

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/versioning"
)

// ByName returns a decode function for topics with several messages. It calls the function for
// the full name of the record's message, such as "shop.Payment": [codec.Decode] makes one of a
// codec. A record with another message is Rejected with the reason unknown_event.
func ByName(reg *registry.Registry, decode map[string]func(*versioning.Record) ([]versioning.Change, error)) func(*versioning.Record) ([]versioning.Change, error) {
	cache := registry.NewCache(reg, sr.TypeProtobuf, compile)
	return func(r *versioning.Record) ([]versioning.Change, error) {
		v, err := cache.Read(r)
		if err != nil {
			return nil, fmt.Errorf("decode Protobuf: %w", err)
		}
		name, err := nameOf(v.Schema, v.Index)
		if err != nil {
			return nil, fmt.Errorf("decode Protobuf: %w", err)
		}
		one, ok := decode[string(name)]
		if !ok {
			return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "the value is a %.200q, which nothing decodes", name)
		}
		return one(r)
	}
}
