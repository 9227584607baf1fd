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

	// Message is what the record says, before damage.
	Message Message

	// Damage says how the value is damaged.
	Damage Damage
}

// source is the header ce_source of the messages.
const source = "/orderflow/shop"

// MessageID returns the message ID that the worker gives the record.
func (r Record) MessageID() string { return source + " " + r.ID }

// A Message is the value of a record, as JSON.
type Message struct {
	Order    string      `json:"order"`
	Event    string      `json:"event"`
	At       time.Time   `json:"at"`
	Customer string      `json:"customer,omitempty"`
	Total    json.Number `json:"total,omitempty"`
	Card     string      `json:"card,omitempty"`
	Tracking string      `json:"tracking,omitempty"`
	Reason   string      `json:"reason,omitempty"`
}

// Damage is what makes a record undecodable.
type Damage uint8

const (
	// Intact is the zero value.
	Intact Damage = iota

	// CutOff truncates the JSON to its first half.
	CutOff

	// Emptied removes the value, which makes the record a tombstone.
	Emptied
)

// Value returns the record's value as sent.
func (r Record) Value() []byte {
	if r.Damage == Emptied {
		return nil
	}
	value, err := json.Marshal(r.Message)
	if err != nil {
		panic(err) // a Message can always be encoded
	}
	if r.Damage == CutOff {
		return value[:len(value)/2]
	}
	return value
}
