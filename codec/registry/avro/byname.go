package avro

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/versioning"
)

// ByName returns a decode function for topics with records of several types. It calls the
// function for the full name of the record's type, such as "shop.Payment": [codec.Decode] makes
// one of a codec. A record with another name is Rejected with the reason unknown_event.
func ByName(reg *registry.Registry, decode map[string]func(*versioning.Record) ([]versioning.Change, error)) func(*versioning.Record) ([]versioning.Change, error) {
	cache := registry.NewCache(reg, sr.TypeAvro, func(s registry.Schema) (string, error) {
		schema, err := parse(s, nil)
		if err != nil {
			return "", err
		}
		return fullName(schema), nil
	})
	return func(r *versioning.Record) ([]versioning.Change, error) {
		v, err := cache.Read(r)
		if err != nil {
			return nil, fmt.Errorf("decode Avro: %w", err)
		}
		one, ok := decode[v.Schema]
		if !ok {
			return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "the value is a %.200q, which nothing decodes", v.Schema)
		}
		return one(r)
	}
}
