package avro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/versioning"
)

// Options are the options of [New]. Every field may have its zero value.
type Options struct {
	// Schema is the reader's schema, as JSON. Empty means the one of T's fields: see
	// avro.SchemaFor. Records are decoded into it, and messages are encoded with it.
	Schema string

	// Name and Namespace are those of the record in the schema of T's fields. An empty Name
	// means the name of T. Only records whose writer used the same name can be decoded; the
	// namespace may differ. Both must be empty if Schema is set.
	Name      string
	Namespace string

	// Parse are options for parsing schemas, such as custom types.
	Parse []avro.SchemaOpt
}

// A Codec is the codec for values of type T in Avro. It implements [codec.Codec], and is safe for
// concurrent use.
type Codec[T any] struct {
	reader *avro.Schema
	cache  *registry.Cache[*avro.Schema]
	writer *registry.Writer
}

// New returns a codec. T is a struct, unless Options.Schema says what it is; the tag avro names
// its fields. The codec makes no request before it decodes a record. It returns an error if there
// is no valid reader's schema, or if Register would refuse it.
func New[T any](reg *registry.Registry, opts Options) (*Codec[T], error) {
	reader, err := opts.reader(reflect.TypeFor[T](), func(o ...avro.SchemaOpt) (*avro.Schema, error) { return avro.SchemaFor[T](o...) })
	if err != nil {
		return nil, fmt.Errorf("schema of %v: %w", reflect.TypeFor[T](), err)
	}
	return &Codec[T]{
		reader: reader,
		cache: registry.NewCache(reg, sr.TypeAvro, func(s registry.Schema) (*avro.Schema, error) {
			return resolve(s, reader, opts.Parse)
		}),
		writer: registry.NewWriter(reg, sr.Schema{Schema: reader.String(), Type: sr.TypeAvro}, cmp.Or(fullName(reader), reader.Root().Type)),
	}, nil
}

var errNames = errors.New("options Name and Namespace are for the schema of a type; Schema has its own")

func (o *Options) reader(of reflect.Type, infer func(...avro.SchemaOpt) (*avro.Schema, error)) (*avro.Schema, error) {
	opts := slices.Clip(o.Parse)
	if o.Schema != "" {
		if o.Name != "" || o.Namespace != "" {
			return nil, errNames
		}
		return avro.Parse(o.Schema, opts...)
	}
	if of.Kind() != reflect.Struct {
		return nil, errors.New("it is no struct; set Options.Schema")
	}
	if o.Name != "" {
		opts = append(opts, avro.WithName(o.Name))
	}
	if o.Namespace != "" {
		opts = append(opts, avro.WithNamespace(o.Namespace))
	}
	return infer(opts...)
}

// fullName returns the full name of a schema's type, or "" if that has none.
func fullName(s *avro.Schema) string {
	root := s.Root()
	if root.Namespace == "" || root.Name == "" {
		return root.Name
	}
	return root.Namespace + "." + root.Name
}

// resolve returns a schema that decodes what was written with s as the reader wants it.
func resolve(s registry.Schema, reader *avro.Schema, opts []avro.SchemaOpt) (*avro.Schema, error) {
	writer, err := parse(s, opts)
	if err != nil {
		return nil, err
	}
	resolved, err := avro.Resolve(writer, reader)
	if err != nil {
		return nil, fmt.Errorf("%.200s can't be read as %.200s: %w", writer.Root().Name, reader.Root().Name, err)
	}
	return resolved, nil
}

// parse parses a schema with its references.
func parse(s registry.Schema, opts []avro.SchemaOpt) (*avro.Schema, error) {
	var known avro.SchemaCache
	for _, ref := range s.References {
		if _, err := known.Parse(ref.Text, opts...); err != nil {
			return nil, fmt.Errorf("reference %.200q: %w", ref.Name, err)
		}
	}
	return known.Parse(s.Text, opts...)
}

// Decode implements [codec.Codec]. Its errors are those of [registry.Cache.Read], and those of
// data that does not fit the schema.
func (c *Codec[T]) Decode(r *versioning.Record) (T, error) {
	var value T
	v, err := c.cache.Read(r)
	if err != nil {
		return value, fmt.Errorf("decode Avro: %w", err)
	}
	rest, err := v.Schema.Decode(v.Data, &value, avro.SkipUnknown())
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the value", len(rest))
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("decode Avro: %w", err)
	}
	return value, nil
}

// Encode implements [codec.Codec]. It makes no request, and returns a registry.ErrNotRegistered
// if neither Register nor Lookup was called for the topic.
func (c *Codec[T]) Encode(topic string, value T) ([]byte, error) {
	prefix, err := c.writer.Prefix(topic)
	if err != nil {
		return nil, fmt.Errorf("encode Avro: %w", err)
	}
	data, err := c.reader.AppendEncode(prefix, &value)
	if err != nil {
		return nil, fmt.Errorf("encode Avro: %w", err)
	}
	return data, nil
}

// Register registers the schema for messages to topics, unless it is registered already. Call it
// at start, before messages are encoded. An error of [versioning.Trouble] means that the registry
// does not answer, or refuses the schema.
func (c *Codec[T]) Register(ctx context.Context, topics ...string) error {
	return c.writer.Register(ctx, topics...)
}

// Lookup is like Register, but writes nothing: it returns a registry.ErrUnknownSchema if the
// schema is not registered for a topic.
func (c *Codec[T]) Lookup(ctx context.Context, topics ...string) error {
	return c.writer.Lookup(ctx, topics...)
}
