package versioning

import (
	"encoding/hex"
	"strconv"
	"time"
)

// A Record is one message of a log on its way into the database: where it is
// from, what it said, and the changes that it asks for.
//
// A Record belongs to one goroutine at a time.
type Record struct {
	Origin Origin

	// Key, Value, Headers and Timestamp are the message as it was read. They
	// are kept with a parked record and a dead letter. nil Key and Value are
	// kept apart from empty ones.
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp time.Time

	// Changes is what the record asks for, all or nothing, in this order.
	// None at all means that the record is of no interest: it is ignored.
	Changes []Change

	// Err says why the record has no usable changes: it could not be decoded,
	// or [Store.Prepare] found a key or a message ID that can't be stored. A record with
	// an Err is rejected. A [*Refusal] names the reason; any other error
	// counts as [ReasonUndecodable].
	Err error

	// Unfit says that columns can't be written, and why; nil if they can. A record
	// that would be applied or parked is rejected with it. One that has been applied
	// before, when the table was another, is a duplicate all the same. It is a
	// [*Refusal]; a store's Prepare sets it.
	Unfit error

	// Digests holds the digests of the changes, as a store's Prepare computes them. Fold
	// computes those that are missing or 0 itself.
	Digests []Digest

	// Redrive marks a dead letter that a redrive judges again.
	Redrive bool

	// Prepared belongs to the store that has prepared the record.
	Prepared any
}

// Size returns about how many bytes of memory the record's content takes.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Entity returns the entity that a change is about.
func (r *Record) Entity(change int) Entity {
	return Entity{r.Changes[change].Machine, r.Changes[change].Key}
}

// A Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}

// Origin is the place of a record in a log. It is the identity of a dead
// letter and of a parked record, and of a message that brings none of its own.
type Origin struct {
	Topic string

	// TopicID is the topic's UUID. A topic that is deleted and made again
	// starts again at offset 0, so a name alone is no identity.
	TopicID   [16]byte
	Partition int32
	Offset    int64
}

// ID returns the origin as a message ID: "topic UUID/partition/offset".
func (o Origin) ID() string {
	b := make([]byte, 0, 64)
	b = appendUUID(b, o.TopicID)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(o.Partition), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, o.Offset, 10)
	return string(b)
}

// same reports whether two origins are one. The name of the topic goes with its ID.
func (o Origin) same(p Origin) bool {
	return o.Offset == p.Offset && o.Partition == p.Partition && o.TopicID == p.TopicID
}

// String returns "topic/partition@offset".
func (o Origin) String() string {
	return o.Topic + "/" + strconv.Itoa(int(o.Partition)) + "@" + strconv.FormatInt(o.Offset, 10)
}

func appendUUID(b []byte, id [16]byte) []byte {
	b = hex.AppendEncode(b, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		b = append(b, '-')
		b = hex.AppendEncode(b, part)
	}
	return b
}
