package traffic

import (
	"bytes"
	"encoding/json"
)

// The types of messages.
const (
	Authorized  = "payment.authorized"
	Captured    = "payment.captured"
	Refunded    = "payment.refunded"
	ChargedBack = "payment.charged_back"
	Voided      = "payment.voided"
	Opened      = "account.opened"
	PaidIn      = "account.paid_in"
	Closed      = "account.closed"
	Transfer    = "transfer.made"
)

// A Record is one record for the topic.
type Record struct {
	// Key is the record's key in Kafka: the payment, or the book of the accounts. It
	// decides about the partition, and so about what comes before what.
	Key string

	// ID is the message's ID. Records with the same ID and the same message are one
	// message, sent more than once.
	ID string

	// Message is what the record says, before damage.
	Message Message

	// Damage says how the value is damaged.
	Damage Damage
}

// source is the header ce_source of the messages.
const source = "/payments/gateway"

// MessageID returns the message ID that the worker gives the record.
func (r Record) MessageID() string { return source + " " + r.ID }

// A Message is the value of a record, as JSON.
type Message struct {
	Type     string `json:"type"`
	Payment  string `json:"payment,omitempty"`
	Account  string `json:"account,omitempty"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
	Amount   int64  `json:"amount,omitempty"` // in the smallest unit
	Currency string `json:"currency,omitempty"`
	FeeRate  string `json:"fee_rate,omitempty"` // a decimal with at most 5 places
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

	// Fractional gives the amount a fraction, as if it were in euros and not in cents.
	Fractional
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
	switch r.Damage {
	case CutOff:
		return value[:len(value)/2]
	case Fractional:
		return bytes.Replace(value, []byte(`"amount":`), []byte(`"amount":0.5`), 1)
	default:
		return value
	}
}
