package traffic

import (
	"encoding/json"
	"time"
)

// A Record is one record for the topic.
type Record struct {
	// ID is the message's ID. Records with the same ID are one message, sent
	// more than once.
	ID string

	// Message is what the record says, or would say if it were not damaged.
	Message Message

	// Damage is what happened to it on the way.
	Damage Damage
}

// source is where the messages come from, in the header ce_source.
const source = "/orderflow/shop"

// MessageID returns the ID that the worker gives the record's message.
func (r Record) MessageID() string { return source + " " + r.ID }

// A Message is the value of a record, as JSON.
type Message struct {
	Order    string      `json:"order"`
	Event    string      `json:"event"`
	At       time.Time   `json:"at"`
	Customer string      `json:"customer,omitempty"`
	Total    json.Number `json:"total,omitempty"`
	Tracking string      `json:"tracking,omitempty"`
	Reason   string      `json:"reason,omitempty"`
}

// Damage is what makes a record unreadable.
type Damage uint8

const (
	// Intact is the zero value.
	Intact Damage = iota

	// CutOff leaves the first half of the JSON.
	CutOff

	// Emptied leaves a key without a value: what a compacted topic calls a
	// tombstone.
	Emptied
)

// Value returns the record's value as it is sent.
func (r Record) Value() []byte {
	if r.Damage == Emptied {
		return nil
	}
	value, err := json.Marshal(r.Message)
	if err != nil {
		panic(err) // a Message always can be encoded
	}
	if r.Damage == CutOff {
		return value[:len(value)/2]
	}
	return value
}
