package versioning_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// The message ID comes from the CloudEvents headers if the decode function sets none. A
// Refusal chooses the reason of the dead letter.
func ExampleRecord_Decode() {
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		event, ok := r.Header("event")
		if !ok {
			return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "the record has no header %q", "event")
		}
		return []versioning.Change{{Key: string(r.Key), Event: statemachine.Event(event)}}, nil
	}
	r := &versioning.Record{Key: []byte("42"), Headers: []versioning.Header{
		{Key: "event", Value: []byte("placed")},
		{Key: "ce_source", Value: []byte("/shop")},
		{Key: "ce_id", Value: []byte("a1")},
	}}
	r.Decode(decode)
	fmt.Printf("%s %s, message %q\n", r.Changes[0].Key, r.Changes[0].Event, r.Changes[0].MessageID)

	r = &versioning.Record{Key: []byte("43")}
	r.Decode(decode)
	fmt.Println(r.Err)
	// Output:
	// 42 placed, message "/shop a1"
	// unknown_event: the record has no header "event"
}

// Prepare fills in what a change leaves out, and checks the rest.
func ExamplePrepare() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	r := &versioning.Record{
		Origin:  versioning.Origin{Topic: "orders", Partition: 2, Offset: 7},
		Changes: []versioning.Change{{Key: "42", Event: "placed"}},
	}
	versioning.Prepare(rules, r)
	fmt.Println(r.Entity(0), "by", r.Changes[0].MessageID)
	fmt.Println("which is the origin:", r.Changes[0].MessageID == r.Origin.ID())

	r = &versioning.Record{Changes: []versioning.Change{{Key: "4\x002", Event: "placed"}}}
	fmt.Println("storable:", versioning.StorableText(r.Changes[0].Key))
	versioning.Prepare(rules, r)
	fmt.Println(r.Err)
	// Output:
	// order/42 by 00000000-0000-0000-0000-000000000000/2/7
	// which is the origin: true
	// storable: false
	// invalid_key: the key is not valid UTF-8, or contains a NUL byte, which PostgreSQL can't store in text
}

// A message that carries the version it saw needs no ID. At(0) is a message that expects
// no entity.
func ExampleAt() {
	rules := map[string]versioning.Rules{"order": {Machine: light, Identity: versioning.ByVersion}}
	var records []*versioning.Record
	for offset, c := range []versioning.Change{
		{Key: "42", Event: "placed", Expected: versioning.At(0)},
		{Key: "42", Event: "captured", Expected: versioning.At(1)},
		{Key: "42", Event: "captured", Expected: versioning.At(1)},
		{Key: "42", Event: "cancelled", Expected: versioning.At(1)},
	} {
		r := &versioning.Record{Origin: versioning.Origin{Offset: int64(offset)}, Changes: []versioning.Change{c}}
		versioning.Prepare(rules, r)
		records = append(records, r)
	}
	plan := versioning.Fold(rules, &versioning.View{}, records)
	for i, o := range plan.Outcomes {
		version, _ := records[i].Changes[0].Expected.Version()
		fmt.Printf("%s at version %d: %s\n", records[i].Changes[0].Event, version, o.Verdict)
	}
	fmt.Println(plan.Outcomes[3].Detail)
	// Output:
	// placed at version 0: applied
	// captured at version 1: applied
	// captured at version 1: duplicate
	// cancelled at version 1: diverged
	// version 2 was made by "captured", not by "cancelled"
}

// An application that changed its message IDs still recognizes messages that its history
// has under the former ones. A store looks up both.
func ExampleChange_MessageIDs() {
	c := versioning.Change{Key: "42", Event: "placed", MessageID: "/shop a1", FormerID: "a1"}
	fmt.Printf("%q\n", c.MessageIDs())
	// Output: ["/shop a1" "a1"]
}

// Size helps to keep what a program holds in memory within a limit.
func ExampleRecord_Size() {
	records := []*versioning.Record{
		{Key: []byte("42"), Value: []byte(`{"event":"placed"}`)},
		{Key: []byte("43"), Value: []byte(`{"event":"cancelled","note":"out of stock"}`)},
	}
	const limit = 50
	held := 0
	for _, r := range records {
		if held+r.Size() > limit {
			fmt.Printf("order %s has to wait: %d of %d bytes are taken\n", r.Key, held, limit)
			break
		}
		held += r.Size()
	}
	// Output: order 43 has to wait: 20 of 50 bytes are taken
}

// A program that counts verdicts may treat dead letters alike.
func ExampleOutcome_DeadLettered() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	var records []*versioning.Record
	for offset, event := range []statemachine.Event{"placed", "captured", "cancelled", "lost"} {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "orders", Offset: int64(offset)},
			Changes: []versioning.Change{{Key: "42", Event: event}},
		}
		versioning.Prepare(rules, r)
		records = append(records, r)
	}
	for i, o := range versioning.Fold(rules, &versioning.View{}, records).Outcomes {
		if o.DeadLettered() {
			fmt.Println(records[i].Origin, o.Event, o.Verdict, o.Reason)
		}
	}
	// Output:
	// orders/0@2 cancelled rejected illegal
	// orders/0@3 lost rejected unknown_event
}

// Dead letters and metrics have a verdict as text.
func ExampleParseVerdict() {
	for _, text := range []string{"rejected", "lost"} {
		switch v := versioning.ParseVerdict(text); v {
		case versioning.Undecided:
			fmt.Printf("%q is no verdict\n", text)
		default:
			fmt.Println(v, v == versioning.Rejected)
		}
	}
	// Output:
	// rejected true
	// "lost" is no verdict
}

// A caller of a store retries what may pass and gives up on the rest.
func ExampleCauseOf() {
	missing := &versioning.Error{Cause: versioning.Fatal, Err: errors.New("permission denied for table orders")}
	for _, err := range []error{
		fmt.Errorf("apply a batch: %w", context.DeadlineExceeded),
		fmt.Errorf("apply a batch: %w", missing),
	} {
		switch versioning.CauseOf(err) {
		case versioning.Fatal:
			fmt.Println("give up:", err)
		default:
			fmt.Println("retry:", err)
		}
	}
	fmt.Println(errors.Is(missing, versioning.ErrFatal))
	// Output:
	// retry: apply a batch: context deadline exceeded
	// give up: apply a batch: permission denied for table orders
	// true
}

// A store's Deliver makes the same record for the same changes, so that it finds what it has
// kept of them.
func ExampleNewDelivery() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	prepare := func(r *versioning.Record) { versioning.Prepare(rules, r) }
	captured := versioning.Change{Key: "42", Event: "captured", MessageID: "job 1"}
	one := versioning.NewDelivery([]versioning.Change{captured}, time.Now(), 1, prepare)
	two := versioning.NewDelivery([]versioning.Change{captured}, time.Now(), 2, prepare)
	captured.MessageID = "job 2"
	other := versioning.NewDelivery([]versioning.Change{captured}, time.Now(), 3, prepare)
	fmt.Println(one.IsDelivery(), one.Origin == two.Origin, one.Origin == other.Origin)
	// Output: true true false
}
