package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A message is what the shop's services write to the topic as JSON: one thing
// that happened to one order. Its ID is in the headers ce_source and ce_id,
// where the consumer finds it automatically.
type message struct {
	Order string             `json:"order"`
	Event statemachine.Event `json:"event"`
	At    time.Time          `json:"at"`

	Customer string      `json:"customer"` // order.placed
	Total    json.Number `json:"total"`    // order.placed; a decimal, so not a float
	Tracking string      `json:"tracking"` // order.shipped
	Reason   string      `json:"reason"`   // order.cancelled
}

// decode returns the changes a record asks for. If it returns an error, the
// record becomes a dead letter and the worker continues.
var decode = consumer.JSON(changes)

func changes(m message, _ *versioning.Record) ([]versioning.Change, error) {
	if m.Order == "" || m.At.IsZero() {
		return nil, errors.New(`message has no "order" or no "at"`)
	}
	return []versioning.Change{{Key: m.Order, Event: m.Event, Set: m.columns()}}, nil
}

// columns returns the columns to write to the order's row together with the
// step. The machine decides whether the step is legal, not this function.
func (m message) columns() versioning.Columns {
	switch m.Event {
	case OrderPlaced:
		return versioning.Columns{"customer": m.Customer, "total": m.Total.String(), "placed_at": m.At}
	case PaymentCaptured:
		return versioning.Columns{"paid_at": m.At}
	case OrderShipped:
		return versioning.Columns{"shipped_at": m.At, "tracking": m.Tracking}
	case OrderDelivered:
		return versioning.Columns{"delivered_at": m.At}
	case OrderCancelled:
		return versioning.Columns{"cancelled_at": m.At, "cancel_reason": m.Reason}
	}
	return nil
}
