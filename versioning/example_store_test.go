package versioning_test

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A store builds a view with NewView and Add while it goes through the records of a batch,
// and then reads what it knows about the entities in one query.
func ExampleView() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	var records []*versioning.Record
	for offset, event := range []statemachine.Event{"placed", "captured"} {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "orders", Offset: int64(offset)},
			Changes: []versioning.Change{{Key: "42", Event: event, MessageID: fmt.Sprint("m", offset)}},
		}
		versioning.Prepare(rules, r)
		records = append(records, r)
	}

	view := versioning.NewView(len(records))
	for _, r := range records {
		known, isNew := view.Add(r.Entity(0))
		if !isNew {
			continue
		}
		// A store reads this from its tables: the first message has moved the order.
		known.Exists, known.Row = true, versioning.Row{State: "pending", Version: 1}
		known.Messages = versioning.MessagesOf([]versioning.Message{{ID: "m0", Digest: r.Digest(0)}})
		fmt.Printf("entity %d of the view is %v\n", known.Number(), r.Entity(0))
	}

	plan := versioning.Fold(rules, view, records)
	for i, o := range plan.Outcomes {
		fmt.Println(records[i].Origin, o.Verdict)
	}
	for _, move := range plan.Moves {
		state, version := move.To()
		fmt.Printf("update %v, number %d, from version %d: %s, version %d\n", move.Entity, move.Known().Number(), move.From.Version, state, version)
		for _, step := range move.Steps {
			fmt.Printf("history: %s; knows what it asked for: %t\n", step.Event, step.Digest() == step.Record.Digest(0))
		}
	}
	// Output:
	// entity 1 of the view is order/42
	// orders/0@0 duplicate
	// orders/0@1 applied
	// update order/42, number 1, from version 1: paid, version 2
	// history: captured; knows what it asked for: true
}

// Two messages with one ID are the same message only if they ask for the same.
func ExampleMessageIDs() {
	placed := versioning.Record{Changes: []versioning.Change{
		{Key: "42", Event: "placed", Set: versioning.Columns{"total": "12.50"}},
		{Key: "42", Event: "placed", Set: versioning.Columns{"total": "99.00"}},
	}}
	var seen versioning.MessageIDs
	fmt.Println("empty:", seen.IsEmpty())
	seen.Add("m1", placed.Digest(0))
	fmt.Println("m1 is known:", seen.Has("m1"))
	fmt.Println("m1 asked for 12.50:", seen.Asked("m1", placed.Digest(0)))
	fmt.Println("m1 asked for 99.00:", seen.Asked("m1", placed.Digest(1)))
	for id, digest := range seen.All() {
		fmt.Println(id, "asked for 12.50:", digest == placed.Digest(0))
	}
	// Output:
	// empty: true
	// m1 is known: true
	// m1 asked for 12.50: true
	// m1 asked for 99.00: false
	// m1 asked for 12.50: true
}

// A store that encodes the columns itself computes the digest from their text.
func ExampleDigester() {
	d := versioning.NewDigester("placed")
	d.Column("note", "", true) // NULL
	d.Column("total", "12.50", false)

	r := versioning.Record{Changes: []versioning.Change{
		{Key: "42", Event: "placed", Set: versioning.Columns{"total": "12.50", "note": nil}},
	}}
	fmt.Println(d.Sum() == r.Digest(0))
	// Output: true
}

// A sweep finds a parked record whose order has moved meanwhile.
func ExampleRefold() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	captured := &versioning.Record{
		Origin:  versioning.Origin{Topic: "payments", Offset: 3},
		Changes: []versioning.Change{{Key: "42", Event: "captured"}},
	}
	versioning.Prepare(rules, captured)
	order := captured.Entity(0)

	view := versioning.NewView(1)
	known, _ := view.Add(order)
	known.Exists, known.Row = true, versioning.Row{State: "pending", Version: 1}
	view.Parked = []versioning.Parked{{Record: captured, Entity: order, Reason: versioning.ReasonNoEntity}}

	plan := versioning.Refold(rules, view)
	for _, s := range plan.Release {
		fmt.Println(s.Record.Origin, s.Outcome.Verdict)
	}
	for _, move := range plan.Moves {
		state, version := move.To()
		fmt.Println(move.Entity, state, version)
	}
	// Output:
	// payments/0@3 applied
	// order/42 paid 2
}
