package registry

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/pawl-go/pawl/versioning"
)

// A Cache has what a codec has compiled from the schemas of its records. It fetches each schema
// once, and keeps at most Config.MaxSchemas of them. It is safe for concurrent use.
type Cache[V any] struct {
	registry *Registry
	kind     sr.SchemaType
	compile  func(Schema) (V, error)

	mu      sync.Mutex
	entries map[schemaID]*list.Element // of entry[V]
	order   list.List                  // the last one was not used for the longest time
	flights map[schemaID]*flight[V]
}

type entry[V any] struct {
	id    schemaID
	value V
	err   error
	until time.Time // when it is to be fetched again; zero: never
}

// A flight is a schema that is being fetched.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// NewCache returns a cache for schemas of a type. compile is called once for each schema, at the
// same time for different ones. If it returns an error, records with that schema can't be
// decoded. The records of sr.TypeProtobuf have a message index.
//
// Packages avro and protobuf use it. It is exported for codecs of other formats.
func NewCache[V any](r *Registry, kind sr.SchemaType, compile func(Schema) (V, error)) *Cache[V] {
	return &Cache[V]{
		registry: r, kind: kind, compile: compile,
		entries: make(map[schemaID]*list.Element), flights: make(map[schemaID]*flight[V]),
	}
}

// A Value is a record's value whose schema is known.
type Value[V any] struct {
	Schema V      // what the cache has compiled
	Index  []int  // the message index of Protobuf, which must not be changed; otherwise nil
	Data   []byte // the value without a prefix; a part of the record
}

// Read returns a record's value and its schema. An error of [versioning.Trouble] means that the
// registry does not answer or answers something else; it keeps no such errors. Any other error
// means that the record can't be decoded: it names no schema ([ErrFormat]), the registry does not
// know the schema ([ErrUnknownSchema]), or it can't be compiled. What the registry does not know
// is asked for again after half a minute.
func (c *Cache[V]) Read(r *versioning.Record) (Value[V], error) {
	f, err := split(r, c.kind == sr.TypeProtobuf)
	if err != nil {
		return Value[V]{}, err
	}
	schema, err := c.get(f.id)
	if err != nil {
		return Value[V]{}, err
	}
	return Value[V]{schema, f.index, f.data}, nil
}

func (c *Cache[V]) get(id schemaID) (V, error) {
	c.mu.Lock()
	if at, ok := c.entries[id]; ok {
		e := at.Value.(*entry[V])
		if e.until.IsZero() || time.Now().Before(e.until) {
			c.order.MoveToFront(at)
			c.mu.Unlock()
			return e.value, e.err
		}
		c.remove(at)
	}
	if f, ok := c.flights[id]; ok {
		c.mu.Unlock()
		<-f.done
		return f.value, f.err
	}
	f := &flight[V]{done: make(chan struct{}), err: errUnfinished}
	c.flights[id] = f
	c.mu.Unlock()
	defer c.land(id, f)
	f.value, f.err = c.load(id)
	return f.value, f.err
}

// errUnfinished stays if compile panics or ends the goroutine.
var errUnfinished = errors.New("compiling the schema did not end")

// land ends a flight and keeps its result, unless it is trouble.
func (c *Cache[V]) land(id schemaID, f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(f.done)
	delete(c.flights, id)
	if errors.Is(f.err, versioning.ErrInfrastructure) || errors.Is(f.err, errUnfinished) {
		return
	}
	e := &entry[V]{id: id, value: f.value, err: f.err}
	if errors.Is(f.err, ErrUnknownSchema) {
		e.until = time.Now().Add(unknownFor)
	}
	c.entries[id] = c.order.PushFront(e)
	if c.order.Len() > c.registry.cfg.MaxSchemas {
		c.remove(c.order.Back())
	}
}

func (c *Cache[V]) remove(at *list.Element) {
	delete(c.entries, c.order.Remove(at).(*entry[V]).id)
}

func (c *Cache[V]) load(id schemaID) (V, error) {
	var none V
	s, err := c.registry.fetch(id)
	if err != nil {
		return none, err
	}
	if s.Type != c.kind {
		return none, fmt.Errorf("schema %s is of type %s, not %s", id, s.Type, c.kind)
	}
	value, err := c.compile(s)
	if err != nil {
		return none, fmt.Errorf("schema %s: %w", id, err)
	}
	return value, nil
}
