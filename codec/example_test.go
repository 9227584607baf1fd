package codec_test

import (
	"encoding/json"
	"fmt"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A worker gets its decode function from a codec and a function that says what a value means.
func ExampleDecode() {
	type captured struct {
		Payment string `json:"payment"`
		Amount  int64  `json:"amount"`
	}
	decode := codec.Decode(codec.JSON[captured](), func(c captured, _ *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: c.Payment, Event: "payment.captured", Data: c}}, nil
	})
	r := versioning.Record{Value: []byte(`{"payment":"42","amount":1250}`)}
	r.Decode(decode) // as a worker does
	fmt.Printf("%s %s %+v\n", r.Changes[0].Key, r.Changes[0].Event, r.Changes[0].Data)
	// Output: 42 payment.captured {Payment:42 Amount:1250}
}

// Field names come from the json tags.
func ExampleJSON() {
	type entry struct {
		Payment string `json:"payment"`
		Amount  int64  `json:"amount"`
	}
	entries := codec.JSON[entry]()
	data, err := entries.Encode("ledger", entry{"42", 1250})
	fmt.Println(string(data), err)
	e, err := entries.Decode(&versioning.Record{Value: data})
	fmt.Println(e, err)
	// Output:
	// {"payment":"42","amount":1250} <nil>
	// {42 1250} <nil>
}

// A tombstone deletes, so it needs no value.
func ExampleOptional() {
	type customer struct{ Name string }
	decode := codec.Decode(codec.Optional(codec.JSON[customer]()), func(c *customer, r *versioning.Record) ([]versioning.Change, error) {
		event := statemachine.Event("customer.changed")
		if c == nil {
			event = "customer.deleted"
		}
		return []versioning.Change{{Key: string(r.Key), Event: event}}, nil
	})
	for _, value := range [][]byte{[]byte(`{"Name":"Ada"}`), nil} {
		r := versioning.Record{Key: []byte("7"), Value: value}
		r.Decode(decode)
		fmt.Println(r.Changes[0].Key, r.Changes[0].Event)
	}
	// Output:
	// 7 customer.changed
	// 7 customer.deleted
}

// A table's Encode field takes one codec for each type that its actions emit.
func ExampleEncode() {
	type ledgerEntry struct {
		Payment string `json:"payment"`
	}
	encode := codec.Encode(codec.For(codec.JSON[ledgerEntry]())) // postgres.Table{Encode: encode}
	data, err := encode("ledger", ledgerEntry{"42"})
	fmt.Println(string(data), err)
	_, err = encode("ledger", 42)
	fmt.Println(err)
	// Output:
	// {"payment":"42"} <nil>
	// no codec for a int; pass one to codec.Encode
}

// For takes values and pointers to them.
func ExampleFor() {
	type ledgerEntry struct{ Amount int64 }
	encode := codec.Encode(codec.For(codec.JSON[ledgerEntry]()))
	data, err := encode("ledger", &ledgerEntry{5})
	fmt.Println(string(data), err)
	// Output: {"Amount":5} <nil>
}

// Events of several types in one topic: Change.Data takes the JSON of the data as it is, and
// it is decoded into the type that the event's functions take.
func ExampleCloudEvents() {
	events := codec.CloudEvents(codec.JSON[json.RawMessage]())
	decode := codec.Decode(events, func(e codec.Event[json.RawMessage], _ *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: e.Subject, Event: statemachine.Event(e.Type), Data: e.Data}}, nil
	})
	inHeaders := versioning.Record{
		Value: []byte(`{"amount":1250}`),
		Headers: []versioning.Header{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte("a1")},
			{Key: "ce_source", Value: []byte("/checkout")},
			{Key: "ce_type", Value: []byte("payment.captured")},
			{Key: "ce_subject", Value: []byte("42")},
		},
	}
	inValue := versioning.Record{
		Value: []byte(`{"specversion":"1.0","id":"a1","source":"/checkout","type":"payment.captured",
			"subject":"42","data":{"amount":1250}}`),
		Headers: []versioning.Header{{Key: "content-type", Value: []byte(codec.StructuredJSON)}},
	}
	for _, r := range []*versioning.Record{&inHeaders, &inValue} {
		r.Decode(decode)
		c := r.Changes[0]
		fmt.Printf("%s %s %s, message %q\n", c.Key, c.Event, c.Data, c.MessageID)
	}
	// Output:
	// 42 payment.captured {"amount":1250}, message "/checkout a1"
	// 42 payment.captured {"amount":1250}, message "/checkout a1"
}
