package main

import (
	"errors"
	"time"

	"github.com/shopspring/decimal"

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

	Customer string          `json:"customer"` // order.placed
	Total    decimal.Decimal `json:"total"`    // order.placed
	Card     string          `json:"card"`     // order.placed and payment.retried
	Tracking string          `json:"tracking"` // order.shipped
	Reason   string          `json:"reason"`   // order.cancelled
}

// decode returns the changes a record asks for. If it returns an error, the
// record becomes a dead letter and the worker continues.
var decode = consumer.JSON(changes)

// changes returns one change, or two: all changes of a record are made, or none.
func changes(m message, _ *versioning.Record) ([]versioning.Change, error) {
	if m.Order == "" || m.At.IsZero() {
		return nil, errors.New(`message has no "order" or no "at"`)
	}
	order := versioning.Change{Machine: "order", Key: m.Order, Event: m.Event}
	payment := versioning.Change{Machine: Payment.Name(), Key: m.Order}
	switch m.Event {
	case OrderPlaced:
		order.Data, order.Set = Placed{m.Customer, m.Total}, versioning.Columns{"placed_at": m.At}
		payment.Event, payment.Data = PaymentRequested, Request{m.Total, m.Card}
		return []versioning.Change{order, payment}, nil
	case PaymentRetried:
		payment.Event, payment.Data = PaymentRetried, Retry{m.Card}
		return []versioning.Change{order, payment}, nil
	case OrderShipped:
		order.Data = Dispatched{m.Tracking}
		order.Set = versioning.Columns{"shipped_at": m.At, "tracking": m.Tracking}
	case OrderDelivered:
		order.Set = versioning.Columns{"delivered_at": m.At}
	case OrderCancelled:
		order.Set = versioning.Columns{"cancelled_at": m.At, "cancel_reason": m.Reason}
	case PaymentCaptured, PaymentDeclined, PaymentRefunded, PaymentUnclear, OrderExpired:
		return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "%q is not for messages: it comes from the provider or from a timer", m.Event)
	}
	return []versioning.Change{order}, nil
}
