package protobuf

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/bufbuild/protocompile/parser"
	"github.com/bufbuild/protocompile/reporter"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/versioning"
)

// Options are the options of [New]. Every field may have its zero value.
type Options struct {
	// Schema is the source of the .proto file with the message, for Register and Lookup. Empty
	// means the descriptor that T was generated with, encoded as base64, which Confluent's
	// registry takes in place of the source.
	Schema string

	// References are the schemas of the files that the message's file imports, for Register and
	// Lookup. Files of google/protobuf need none.
	References []sr.SchemaReference
}

// A Codec is the codec for a message in Protobuf. It implements [codec.Codec], and is safe for
// concurrent use.
type Codec[T proto.Message] struct {
	kind   protoreflect.MessageType
	name   protoreflect.FullName
	cache  *registry.Cache[[]message]
	writer *registry.Writer
}

// New returns a codec. T is a pointer to a generated message. The codec makes no request before
// it decodes a record. It returns an error if T is something else.
func New[T proto.Message](reg *registry.Registry, opts Options) (*Codec[T], error) {
	of := reflect.TypeFor[T]()
	var none T
	kind := kindOf(none)
	if of.Kind() != reflect.Pointer || kind == nil {
		return nil, fmt.Errorf("%v is not a pointer to a generated message", of)
	}
	d := kind.Descriptor()
	text := opts.Schema
	if text == "" {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(d.ParentFile()))
		if err != nil {
			return nil, fmt.Errorf("descriptor of %s: %w", d.FullName(), err)
		}
		text = base64.StdEncoding.EncodeToString(data)
	}
	schema := sr.Schema{Schema: text, Type: sr.TypeProtobuf, References: opts.References}
	return &Codec[T]{
		kind: kind, name: d.FullName(),
		cache:  registry.NewCache(reg, sr.TypeProtobuf, compile),
		writer: registry.NewWriter(reg, schema, string(d.FullName()), indexOf(d)...),
	}, nil
}

// kindOf returns the type of a generated message that is nil, or nil if it is another kind of
// message, which may panic.
func kindOf(m proto.Message) (kind protoreflect.MessageType) {
	defer func() {
		if recover() != nil {
			kind = nil
		}
	}()
	kind = m.ProtoReflect().Type()
	_ = kind.Descriptor().FullName()
	return kind
}

// indexOf returns the message index of a message: its index in each message around it.
func indexOf(d protoreflect.Descriptor) []int {
	if _, ok := d.Parent().(protoreflect.FileDescriptor); ok {
		return []int{d.Index()}
	}
	return append(indexOf(d.Parent()), d.Index())
}

// Decode implements [codec.Codec]. Its errors are those of [registry.Cache.Read], those of a
// value that is another message than T, and those of data that is no such message.
func (c *Codec[T]) Decode(r *versioning.Record) (T, error) {
	var none T
	v, err := c.cache.Read(r)
	if err != nil {
		return none, fmt.Errorf("decode Protobuf: %w", err)
	}
	name, err := nameOf(v.Schema, v.Index)
	if err != nil {
		return none, fmt.Errorf("decode Protobuf: %w", err)
	}
	if name != c.name {
		return none, fmt.Errorf("decode Protobuf: the value is a %.200s, not a %s", name, c.name)
	}
	value := c.kind.New().Interface().(T)
	if err := proto.Unmarshal(v.Data, value); err != nil {
		return none, fmt.Errorf("decode Protobuf: %s: %w", c.name, err)
	}
	return value, nil
}

// Encode implements [codec.Codec]. It makes no request, and returns a registry.ErrNotRegistered
// if neither Register nor Lookup was called for the topic. The same message always has the same
// encoding, as long as the program is the same.
func (c *Codec[T]) Encode(topic string, value T) ([]byte, error) {
	if !value.ProtoReflect().IsValid() {
		return nil, fmt.Errorf("encode Protobuf: the %s is nil; emit nil for a message without a value", c.name)
	}
	prefix, err := c.writer.Prefix(topic)
	if err != nil {
		return nil, fmt.Errorf("encode Protobuf: %w", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(prefix, value)
	if err != nil {
		return nil, fmt.Errorf("encode Protobuf: %s: %w", c.name, err)
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

// A message is one of a schema, with those that are declared in it.
type message struct {
	name   protoreflect.FullName
	nested []message
}

// compile returns the messages of a schema's file. It needs none of the file's imports.
func compile(s registry.Schema) ([]message, error) {
	if file, ok := descriptor(s.Text); ok {
		return messagesOf(file.GetPackage(), file.GetMessageType()), nil
	}
	handler := reporter.NewHandler(nil)
	tree, err := parser.Parse("schema.proto", strings.NewReader(s.Text), handler)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	parsed, err := parser.ResultFromAST(tree, true, handler)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	file := parsed.FileDescriptorProto()
	return messagesOf(file.GetPackage(), file.GetMessageType()), nil
}

// descriptor decodes a schema that is a descriptor instead of the source.
func descriptor(text string) (*descriptorpb.FileDescriptorProto, bool) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	file := new(descriptorpb.FileDescriptorProto)
	return file, proto.Unmarshal(data, file) == nil && len(file.GetMessageType()) > 0
}

func messagesOf(scope string, declared []*descriptorpb.DescriptorProto) []message {
	messages := make([]message, len(declared))
	for i, d := range declared {
		name := d.GetName()
		if scope != "" {
			name = scope + "." + name
		}
		messages[i] = message{protoreflect.FullName(name), messagesOf(name, d.GetNestedType())}
	}
	return messages
}

var errIndex = errors.New("the schema has no message with the value's message index")

// nameOf returns the full name of the message with an index.
func nameOf(messages []message, index []int) (name protoreflect.FullName, err error) {
	for _, i := range index {
		if i >= len(messages) {
			return "", fmt.Errorf("%w, %v", errIndex, index)
		}
		name, messages = messages[i].name, messages[i].nested
	}
	return name, nil
}
