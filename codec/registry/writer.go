package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/sr"
)

// A Writer knows the prefixes of the messages that a codec encodes, by topic. It is safe for
// concurrent use.
type Writer struct {
	registry *Registry
	schema   sr.Schema
	name     string
	index    []int

	mu       sync.Mutex                        // for changes
	prefixes atomic.Pointer[map[string][]byte] // never changed
}

// NewWriter returns a writer of messages with a schema. name is the full name of the record or
// the message, for Config.Subject, and index the message index of Protobuf.
func NewWriter(r *Registry, schema sr.Schema, name string, index ...int) *Writer {
	w := &Writer{registry: r, schema: schema, name: name, index: index}
	w.prefixes.Store(new(map[string][]byte))
	return w
}

// Register registers the schema for messages to topics, unless it is registered already. Call it
// before messages are encoded, with a role that may write to the registry.
func (w *Writer) Register(ctx context.Context, topics ...string) error {
	return w.resolve(ctx, topics, func(ctx context.Context, subject string) (id int, err error) {
		return w.registry.client.RegisterSchema(ctx, subject, w.schema, -1, -1)
	})
}

// Lookup is like Register, but writes nothing: a schema that is not registered for a topic is an
// [ErrUnknownSchema].
func (w *Writer) Lookup(ctx context.Context, topics ...string) error {
	return w.resolve(ctx, topics, func(ctx context.Context, subject string) (int, error) {
		found, err := w.registry.client.LookupSchema(ctx, subject, w.schema)
		return found.ID, err
	})
}

func (w *Writer) resolve(ctx context.Context, topics []string, idOf func(context.Context, string) (int, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	prefixes := maps.Clone(*w.prefixes.Load())
	if prefixes == nil {
		prefixes = make(map[string][]byte)
	}
	for _, topic := range topics {
		subject := w.registry.cfg.Subject(topic, w.name)
		var id int
		err := w.registry.ask(ctx, func(ctx context.Context) (err error) {
			id, err = idOf(ctx, subject)
			return err
		})
		if err != nil {
			return fmt.Errorf("schema of %s for topic %q, subject %q: %w", w.name, topic, subject, err)
		}
		if prefixes[topic], err = prefixOf(id, w.index); err != nil {
			return fmt.Errorf("schema of %s for topic %q, subject %q: %w", w.name, topic, subject, err)
		}
	}
	w.prefixes.Store(&prefixes)
	return nil
}

// ErrNotRegistered says that neither Register nor Lookup was called for a topic.
var ErrNotRegistered = errors.New("the schema is not registered for the topic; call Register or Lookup with it at start")

// Prefix returns the prefix of the values of messages to a topic. Its capacity is its length, so
// it may be appended to. It makes no request: without Register or Lookup, it returns an
// [ErrNotRegistered].
func (w *Writer) Prefix(topic string) ([]byte, error) {
	prefix, ok := (*w.prefixes.Load())[topic]
	if !ok {
		return nil, fmt.Errorf("topic %q, %s: %w", topic, w.name, ErrNotRegistered)
	}
	return prefix, nil
}
