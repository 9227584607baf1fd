package versioning

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/pawl-go/pawl/statemachine"
)

// Lanes is the number of lanes of an outbox. It never changes, because an entity stays in its
// lane.
const Lanes = 16

// LaneOf returns the lane of an entity: 0 to Lanes-1. It depends on the entity only, and is
// the same in every process and version.
func LaneOf(e Entity) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(e.Machine)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(e.Key))
	sum := h.Sum64()
	return int((sum ^ sum>>32) % Lanes)
}

// An Emitted is a message of an outbox, and what emitted it.
type Emitted struct {
	OutMessage

	Source  string // the ce_source header; the same for all messages of a table
	Entity  Entity
	Event   statemachine.Event // that made the transition
	Version int64              // of the entity, after the transition
	Index   int                // among the messages of the transition, counted from 0
	Time    time.Time          // of the record that made the transition

	// Attempts is how often the message has become an unsent message and was sent again.
	Attempts int
}

// maxIDKey limits the length of an entity's key in a message ID, in bytes. A message ID that
// is longer than 1,024 bytes is refused by a consumer that is itself a Pawl.
const maxIDKey = 512

// ID returns the message's ID, "machine/entity/version/index". It is unique among the messages
// of a source, and the same each time the message is published. In the machine's name, "/",
// "#" and "%" are escaped as in a URL. An entity's key of more than 512 bytes is replaced by
// its SHA-256, and follows "#" instead of "/".
func (m *Emitted) ID() string {
	b := make([]byte, 0, len(m.Entity.Machine)+len(m.Entity.Key)+24)
	b = append(b, escapeMachine.Replace(m.Entity.Machine)...)
	if key := m.Entity.Key; len(key) <= maxIDKey {
		b = append(append(b, '/'), key...)
	} else {
		sum := sha256.Sum256([]byte(key))
		b = hex.AppendEncode(append(b, '#'), sum[:])
	}
	b = strconv.AppendInt(append(b, '/'), m.Version, 10)
	b = strconv.AppendInt(append(b, '/'), int64(m.Index), 10)
	return string(b)
}

// The first "/" or "#" of an ID is where the machine's name ends.
var escapeMachine = strings.NewReplacer("%", "%25", "/", "%2F", "#", "%23")

// CloudEvent returns the headers that identify and describe the message, as in the binary mode
// of CloudEvents' Kafka binding: ce_specversion, ce_id, ce_source, ce_type, which is the event,
// ce_time, and content-type if it is known.
func (m *Emitted) CloudEvent() []Header {
	headers := []Header{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: idHeader, Value: []byte(m.ID())},
		{Key: sourceHeader, Value: []byte(m.Source)},
		{Key: "ce_type", Value: []byte(m.Event)},
		{Key: "ce_time", Value: m.Time.UTC().AppendFormat(nil, time.RFC3339Nano)},
	}
	if m.ContentType != "" {
		headers = append(headers, Header{Key: contentType, Value: []byte(m.ContentType)})
	}
	return headers
}

// A PackRef identifies a pack of an outbox.
type PackRef struct {
	ID    int64
	Token int64 // random: a restored database may give an ID again
	Lane  int
	Slot  int
}

// A Pack is the messages that one transaction sends to one lane, or a part of them. It is one
// row of an outbox.
type Pack struct {
	PackRef

	At       time.Time // when the transaction began, by the database's clock
	Size     int       // in bytes, in the outbox
	Messages []Emitted
}

// A Wanted says what to read of a lane.
type Wanted struct {
	Lane  int
	Bytes int     // stop at the first pack after this many bytes; at least one is read
	Has   []int64 // the IDs of packs to leave out
}

// A Refused is a message that can't be published.
type Refused struct {
	Emitted

	Reason string // in one word: the name of Kafka's error
	Detail string
}

// A LaneHolder is what holds lanes of an outbox: a relay. Its methods may be called from any
// goroutine.
type LaneHolder interface {
	// Connected says that the store takes part in sharing the lanes from now on. The holder
	// gets its share of them, by calls of Take before or after this one; if others hold all
	// lanes, it gets none.
	Connected()

	// Take says that the holder holds a lane from now on.
	Take(lane int)

	// Release asks for a lane. It returns once nothing of the lane is in flight and the
	// holder won't publish any more of it. Others then take the lane.
	Release(lane int)

	// Wake says that packs may have been committed to lanes that the holder holds.
	Wake()
}

// OutboxDepth is what an outbox contains.
type OutboxDepth struct {
	Packs    int64
	Messages int64
	Oldest   time.Time     // when the transaction of the oldest pack began; zero if there is none
	Age      time.Duration // of the oldest pack, by the database's clock
	Unsent   int64         // messages that can't be published; see [Refused]
}

// An UnsentMessage is a stored [Refused] message.
type UnsentMessage struct {
	Refused

	ID     int64
	DiedAt time.Time // when it was refused
}
