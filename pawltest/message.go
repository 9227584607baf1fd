package pawltest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Record is a record of a topic, as a producer sends it.
type Record struct {
	Topic     string // empty means "events"
	Partition int32
	Key       string

	// Value is the record's value: bytes and strings as they are, anything else as JSON. nil
	// makes a tombstone.
	Value any

	Headers map[string]string // such as ce_source and ce_id

	// Time is the record's timestamp. The zero time means what the worker's clock shows.
	Time time.Time
}

// value returns the bytes of the value.
func (r *Record) value() ([]byte, error) {
	switch v := r.Value.(type) {
	case nil:
		return nil, nil
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	value, err := json.Marshal(r.Value)
	if err != nil {
		return nil, fmt.Errorf("encode the value of the record, a %T: %w", r.Value, err)
	}
	return value, nil
}

// A message is what a producer sends. Each time it is sent, it is another record.
type message struct {
	raw     *Record             // nil for changes
	changes []versioning.Change // if there is no raw record
}

const defaultTopic = "events"

// record returns the record of a message, with a number as its offset.
func (m *message) record(cfg *Config, number int64, now time.Time) (*versioning.Record, error) {
	if m.raw == nil {
		return &versioning.Record{Origin: originOf(defaultTopic, 0, number), Timestamp: now, Changes: slices.Clone(m.changes)}, nil
	}
	if cfg.Decode == nil {
		return nil, errNoDecode
	}
	value, err := m.raw.value()
	if err != nil {
		return nil, err
	}
	topic := m.raw.Topic
	if topic == "" {
		topic = defaultTopic
	}
	r := &versioning.Record{
		Origin: originOf(topic, m.raw.Partition, number), Key: []byte(m.raw.Key), Value: value, Timestamp: m.raw.Time,
	}
	if m.raw.Time.IsZero() {
		r.Timestamp = now
	}
	for _, name := range slices.Sorted(maps.Keys(m.raw.Headers)) {
		r.Headers = append(r.Headers, versioning.Header{Key: name, Value: []byte(m.raw.Headers[name])})
	}
	r.Decode(cfg.Decode)
	if err := r.Trouble(); err != nil {
		return nil, fmt.Errorf("decode a record: a worker would try again, because nothing is wrong with it: %w", err)
	}
	return r, nil
}

// originOf returns the origin of the delivery with a number.
func originOf(topic string, partition int32, number int64) versioning.Origin {
	sum := sha256.Sum256([]byte(topic))
	return versioning.Origin{Topic: topic, TopicID: [16]byte(sum[:16]), Partition: partition, Offset: number}
}

// numberOf returns the number of a delivery, or 0 for a timer.
func numberOf(o versioning.Origin) int64 {
	if o.TopicID == versioning.TimerTopicID {
		return 0
	}
	return o.Offset
}

// describe returns what a record asks for, in a few words.
func describe(r *versioning.Record) string {
	switch {
	case r.Err != nil && len(r.Changes) == 0:
		return fmt.Sprintf("a record that can't be decoded: %v", r.Err)
	case len(r.Changes) == 0:
		return "a record without changes"
	}
	all := make([]string, len(r.Changes))
	for i, c := range r.Changes {
		all[i] = string(c.Event) + " for " + c.Key
		if c.Data != nil {
			all[i] += " " + showData(c.Data)
		}
	}
	return strings.Join(all, ", ")
}

func showData(data any) string {
	if raw, ok := data.(json.RawMessage); ok {
		return string(raw)
	}
	return fmt.Sprintf("%+v", data)
}

// nextID returns the message ID of a message without one.
func nextID(number int64) string { return "message " + strconv.FormatInt(number, 10) }

// change returns the change of Give.
func change(e versioning.Entity, event statemachine.Event, data any) versioning.Change {
	return versioning.Change{Machine: e.Machine, Key: e.Key, Event: event, Data: data}
}
