package versioning

import (
	"encoding/hex"
	"strconv"
	"time"
)

// A Record is one record of a topic: its origin, its content, and the changes that it
// asks for.
//
// A Record belongs to one goroutine at a time.
type Record struct {
	Origin Origin

	// Key, Value, Headers and Timestamp are the record as it was read. They are stored
	// with parked records and dead letters. nil and empty stay different in Key and
	// Value.
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp time.Time

	// Changes is what the record asks for. Either all changes are made, in this order,
	// or none. No changes means that the record is Ignored.
	Changes []Change

	// Err says why the record has no usable changes: it could not be decoded, or
	// [Store.Prepare] found a key or a message ID that can't be stored. A record with
	// an Err is rejected. A [*Refusal] names the reason; any other error counts as
	// [ReasonUndecodable].
	Err error

	// Unfit says why columns can't be written, or functions can't take the data, or is nil.
	// A record that would be applied or parked is rejected with it. A record that was
	// applied before, when the table or the machine was different, is still a duplicate.
	// Unfit is a [*Refusal]; [Prepare] and a store's Prepare set it.
	Unfit error

	// Encoded holds the encoded data of the changes that have some; see
	// [DataType.Encode]. Prepare sets it.
	Encoded [][]byte

	// Digests holds the digests of the changes, as a store's Prepare computes them.
	// Fold computes those that are missing or 0.
	Digests []Digest

	// Redrive marks a dead letter that is being redriven.
	Redrive bool

	// Direct marks changes that a caller makes and waits for, rather than a record of a
	// topic. If they can't be made now, nothing is written: they are neither parked nor
	// stored as a dead letter. The origin of such a record has no topic, and an offset of
	// its own. A store's Do sets it; a decode function can't. Its Deliver does not: see
	// [NewDelivery].
	Direct bool

	// Prepared belongs to the store that prepared the record.
	Prepared any
}

// Size returns the approximate size of the record's content in memory, in bytes.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Entity returns the entity that a change is for.
func (r *Record) Entity(change int) Entity {
	return Entity{r.Changes[change].Machine, r.Changes[change].Key}
}

// A Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Origin is where a record comes from. It identifies parked records and dead letters,
// and messages that have no ID.
type Origin struct {
	Topic string

	// TopicID is the topic's UUID. The name is not enough, because the offsets of a
	// re-created topic start again at 0.
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

// same reports whether two origins are equal. The topic's ID implies its name.
func (o Origin) same(p Origin) bool {
	return o.Offset == p.Offset && o.Partition == p.Partition && o.TopicID == p.TopicID
}

// String returns "topic/partition@offset", or "a direct change" if there is no topic.
func (o Origin) String() string {
	if o.Topic == "" && o.TopicID == [16]byte{} {
		return "a direct change"
	}
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
