package versioning

import (
	"slices"
	"strconv"
	"time"
)

// DeliveryTopic is the topic in the origin of changes that a caller has delivered: see the
// Deliver of a store. No such topic exists in Kafka.
const DeliveryTopic = "pawl.deliveries"

// DeliveryTopicID identifies DeliveryTopic; see there.
var DeliveryTopicID = [16]byte{0x70, 0x61, 0x77, 0x6c, 0x2d, 0x64, 0x85, 0x6c, 0x69, 0x76, 0x65, 0x72, 0x69, 0x65, 0x73, 1}

// IsDelivery reports whether the record has changes that a caller has delivered.
func (r *Record) IsDelivery() bool { return r.Origin.TopicID == DeliveryTopicID }

// NewDelivery returns the prepared record of changes that a caller delivers at a time. Its
// origin is the same for the same changes, so changes that are delivered again find their
// parked record or their dead letter. Changes that nothing identifies, because one of them
// has neither a message ID nor an expected version, are new each time: their origin depends on
// unique. prepare prepares records for the store.
func NewDelivery(changes []Change, at time.Time, unique int64, prepare func(*Record)) *Record {
	r := &Record{Changes: slices.Clone(changes), Timestamp: at}
	prepare(r) // for the keys and the digests, which the origin depends on
	r = &Record{Changes: slices.Clone(changes), Timestamp: at, Origin: deliveryOrigin(changes, r, unique)}
	prepare(r)
	return r
}

// deliveryOrigin returns the origin of changes, of which prepared is a prepared record.
func deliveryOrigin(changes []Change, prepared *Record, unique int64) Origin {
	var parts []string
	for i := range changes {
		c := &changes[i]
		p := &prepared.Changes[i]
		_, versioned := c.Expected.Version()
		parts = append(parts, p.Machine, p.Key, string(c.Event), c.MessageID, c.Expected.String())
		if prepared.Err == nil { // otherwise it has no digest that is the same each time
			parts = append(parts, strconv.FormatInt(int64(prepared.Digest(i)), 10))
		}
		if c.MessageID == "" && !versioned {
			parts = append(parts, strconv.FormatInt(unique, 10))
		}
	}
	return hashedOrigin(DeliveryTopic, DeliveryTopicID, parts...)
}
