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

	encoded  []encoded  // by change; nil if none sets columns
	readyFor *edition   // of the store that has prepared it; nil: none has
	split    bool       // is in one of several lists
	unfit    bool       // Err is that of its preparation
	misfit   error      // columns can't be written: says why it is refused, if it has not been applied before
	redrive  bool       // read back from pawl.dead_letters, to be judged again
	kept     *string    // its scope, if it was read back from the database: see Store.scope
}

// size returns about how much memory the record's content takes.
func (r *Record) size() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	for _, e := range r.encoded {
		for _, c := range e.columns {
			n += len(c.text)
		}
	}
	return n
}

// encoded is what a table makes of a change's Set.
type encoded struct {
	columns []column // in the text form of their PostgreSQL types
	digest  Digest   // of the change; 0: see Record.digest
}

// set returns the columns that a change sets.
func (r *Record) set(change int) []column {
	if r.encoded == nil {
		return nil
	}
	return r.encoded[change].columns
}

// changes returns the changes that are to be judged.
func (r *Record) changes() []Change {
	if r.Err != nil {
		return nil
	}
	return r.Changes
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
