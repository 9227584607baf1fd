package traffic

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/statemachine"
)

// A Message is the value of a record, as JSON.
type Message struct {
	Key      string             `json:"key"`
	Event    statemachine.Event `json:"event"`
	At       string             `json:"at"`
	Customer string             `json:"customer"`
	Total    string             `json:"total"`
	Currency string             `json:"currency"`
	Channel  string             `json:"channel"`
	Amount   int64              `json:"amount,omitempty"` // as in Event
	After    int64              `json:"after,omitempty"`
	Note     string             `json:"note,omitempty"` // makes records large
}

// Headers of a record.
const (
	IDHeader   = "ce_id"   // the message's ID
	TypeHeader = "ce_type" // the event that a message of the outbox is about
	SentHeader = "sent"    // the time at which the record was due, in nanoseconds since 1970
)

// Message returns the message about an event. note makes it larger.
func (e *Event) Message(note string) Message {
	return Message{
		Key: e.Key, Event: e.Name, At: "2026-11-24T09:30:00.123456Z",
		Customer: "customer-" + e.ID[:min(8, len(e.ID))], Total: "129.90", Currency: "EUR", Channel: "web",
		Amount: e.Amount, After: e.After, Note: note,
	}
}

// Record returns the record of an event. note makes it larger.
func Record(topic string, e Event, note string) *kgo.Record {
	value, err := json.Marshal(e.Message(note))
	if err != nil {
		panic(err) // cannot fail: it has only strings
	}
	return &kgo.Record{
		Topic: topic, Key: []byte(e.Key), Value: value,
		Headers: []kgo.RecordHeader{{Key: IDHeader, Value: []byte(e.ID)}},
	}
}

// Due sets the time at which a record is due.
func Due(r *kgo.Record, at time.Time) {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: SentHeader, Value: strconv.AppendInt(nil, at.UnixNano(), 10)})
}

// Sent returns the time at which a record was due. ok is false if the header is
// missing.
func Sent(value []byte) (at time.Time, ok bool) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	return time.Unix(0, n), err == nil
}

// Decode decodes a record's value. All contenders that write use it.
func Decode(value []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(value, &m); err != nil {
		return m, fmt.Errorf("decode JSON: %w", err)
	}
	err := m.Check()
	return m, err
}

// Check returns an error if the message lacks a required field.
func (m *Message) Check() error {
	if m.Key == "" || m.Event == "" {
		return errors.New("message has no key or no event")
	}
	return nil
}

// messageID returns an ID that looks like a random UUID but is a function of
// the key and n.
func messageID(key string, n int) string {
	h := fnv.New128a()
	_, _ = h.Write(strconv.AppendInt(append([]byte(key), '#'), int64(n), 10)) // cannot fail
	id := make([]byte, 0, 36)
	for i, b := range h.Sum(nil) {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			id = append(id, '-')
		}
		id = hex.AppendEncode(id, []byte{b})
	}
	return string(id)
}
