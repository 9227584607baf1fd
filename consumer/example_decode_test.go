package consumer_test

import (
	"fmt"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// decoded prints what a worker gets from a decode function.
func decoded(decode consumer.DecodeFunc, r *versioning.Record) {
	r.Decode(decode)
	if r.Err != nil {
		fmt.Println("rejected:", r.Err)
		return
	}
	for _, c := range r.Changes {
		fmt.Printf("%s %s %v, message %q\n", c.Key, c.Event, c.Set, c.MessageID)
	}
}

// The application decides what its messages mean. A Refusal chooses the reason of the dead
// letter.
func ExampleJSON() {
	type payment struct {
		OrderID string `json:"order_id"`
		Status  string `json:"status"`
		Cents   int64  `json:"cents"`
	}
	decode := consumer.JSON(func(p payment, _ *versioning.Record) ([]versioning.Change, error) {
		switch p.Status {
		case "captured":
			set := versioning.Columns{"paid_cents": p.Cents}
			return []versioning.Change{{Key: p.OrderID, Event: "payment.captured", Set: set}}, nil
		case "pending":
			return nil, nil // the record is Ignored
		}
		return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "payment status %q", p.Status)
	})
	decoded(decode, &versioning.Record{Value: []byte(`{"order_id":"42","status":"captured","cents":1250}`)})
	decoded(decode, &versioning.Record{Value: []byte(`{"order_id":"42","status":"pending"}`)})
	decoded(decode, &versioning.Record{Value: []byte(`{"order_id":"42","status":"lost"}`)})
	// Output:
	// 42 payment.captured map[paid_cents:1250], message ""
	// rejected: unknown_event: payment status "lost"
}

// A producer that puts its message IDs into a header of its own.
func ExampleMessageIDFrom() {
	decode := consumer.MessageIDFrom("request-id", func(r *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: string(r.Key), Event: statemachine.Event(r.Value)}}, nil
	})
	decoded(decode, &versioning.Record{
		Key: []byte("42"), Value: []byte("order.placed"),
		Headers: []versioning.Header{{Key: "request-id", Value: []byte("a1")}},
	})
	// Output: 42 order.placed map[], message "a1"
}

// A message that names its change needs no code.
func ExampleDecodeMessage() {
	decoded(consumer.DecodeMessage, &versioning.Record{
		Value: []byte(`{"key":"42","event":"payment.captured","id":"a1","set":{"paid_cents":1250}}`),
	})
	// Output: 42 payment.captured map[paid_cents:1250], message "a1"
}
