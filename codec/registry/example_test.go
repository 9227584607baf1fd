package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/versioning"
)

// A registry is used by several codecs.
func ExampleNew() {
	_, err := registry.New(registry.Config{
		Client: []sr.ClientOpt{
			sr.URLs("https://registry-1:8081", "https://registry-2:8081"),
			sr.BasicAuth("payments", "secret"),
		},
	})
	fmt.Println(err)
	_, err = registry.New(registry.Config{Timeout: -1})
	fmt.Println(errors.Is(err, registry.ErrConfig))
	// Output:
	// <nil>
	// true
}

// JSONSchema is a codec for values of a JSON Schema: JSON after the ID of the schema.
type JSONSchema[T any] struct {
	json   codec.Codec[T]
	cache  *registry.Cache[string]
	writer *registry.Writer
}

// Decode implements codec.Codec. It does not validate the value.
func (c *JSONSchema[T]) Decode(r *versioning.Record) (T, error) {
	v, err := c.cache.Read(r)
	if err != nil {
		var none T
		return none, err
	}
	of := *r
	of.Value = v.Data
	return c.json.Decode(&of)
}

// Encode implements codec.Codec.
func (c *JSONSchema[T]) Encode(topic string, value T) ([]byte, error) {
	prefix, err := c.writer.Prefix(topic)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(value)
	return append(prefix, data...), err
}

// A codec for another format needs a Cache, which says what a record's schema is, and a Writer,
// which knows the prefixes of messages.
func ExampleNewCache() {
	server := registrytest.New()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	type payment struct{ ID string }
	schema := sr.Schema{Type: sr.TypeJSON, Schema: `{"type":"object","properties":{"ID":{"type":"string"}}}`}
	payments := &JSONSchema[payment]{
		json:   codec.JSON[payment](),
		cache:  registry.NewCache(reg, sr.TypeJSON, func(s registry.Schema) (string, error) { return s.Text, nil }),
		writer: registry.NewWriter(reg, schema, "payment"),
	}
	if err := payments.writer.Register(context.Background(), "payments"); err != nil {
		fmt.Println(err)
		return
	}
	data, err := payments.Encode("payments", payment{"42"})
	fmt.Printf("%q %v\n", data, err)
	p, err := payments.Decode(&versioning.Record{Value: data})
	fmt.Println(p.ID, err)
	// Output:
	// "\x00\x00\x00\x00\x01{\"ID\":\"42\"}" <nil>
	// 42 <nil>
}

// What a record's schema is, and what the registry says about it, decides what becomes of the
// record.
func ExampleCache_Read() {
	server := registrytest.New()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache := registry.NewCache(reg, sr.TypeAvro, func(s registry.Schema) (string, error) { return s.Text, nil })
	id := server.Add("payments-value", sr.Schema{Schema: `"string"`})
	r := &versioning.Record{Value: []byte{0, 0, 0, 0, byte(id), 4, '4', '2'}}

	server.Fail(registrytest.Down)
	_, err = cache.Read(r)
	fmt.Println("the worker retries:", errors.Is(err, versioning.ErrInfrastructure))
	server.Fail(registrytest.None)
	v, err := cache.Read(r)
	fmt.Printf("%s %q %v\n", v.Schema, v.Data, err)
	_, err = cache.Read(&versioning.Record{Value: []byte{0, 0, 0, 0, 99}})
	fmt.Println("a dead letter:", err)
	_, err = cache.Read(&versioning.Record{Value: []byte("{}")})
	fmt.Println("a dead letter:", err)
	// Output:
	// the worker retries: true
	// "string" "\x0442" <nil>
	// a dead letter: schema 99: the schema registry does not know it
	// a dead letter: the record names no schema: its 2 bytes do not begin with a schema's ID or GUID
}

// A Writer has the prefix of each topic for which its schema is known to be registered.
func ExampleNewWriter() {
	server := registrytest.New()
	reg, err := registry.New(registry.Config{Client: server.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, schema := context.Background(), sr.Schema{Schema: `"string"`}
	producer := registry.NewWriter(reg, schema, "string")
	fmt.Println(producer.Lookup(ctx, "payments")) // it may not write to the registry
	fmt.Println(registry.NewWriter(reg, schema, "string").Register(ctx, "payments"))
	fmt.Println(producer.Lookup(ctx, "payments"))
	prefix, err := producer.Prefix("payments")
	fmt.Printf("%q %v\n", prefix, err)
	// Output:
	// schema of string for topic "payments", subject "payments-value": the schema registry does not know it
	// <nil>
	// <nil>
	// "\x00\x00\x00\x00\x01" <nil>
}
