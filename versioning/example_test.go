package versioning_test

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

var light = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "captured", From: statemachine.In("pending"), To: "paid"},
		{Event: "cancelled", From: statemachine.In("pending"), To: "cancelled"},
	},
	Terminal: statemachine.In("paid", "cancelled"),
})

// Fold needs no database.
func ExampleFold() {
	rules := map[string]versioning.Rules{"order": {Machine: light}}
	events := []statemachine.Event{"captured", "placed", "cancelled"}

	var records []*versioning.Record
	for offset, event := range events {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "orders", Offset: int64(offset)},
			Changes: []versioning.Change{{Key: "42", Event: event}},
		}
		versioning.Prepare(rules, r)
		records = append(records, r)
	}

	plan := versioning.Fold(rules, &versioning.View{}, records)
	for i, o := range plan.Outcomes {
		fmt.Printf("%s: %s\n", events[i], o.Verdict)
	}
	for _, move := range plan.Moves {
		state, version := move.To()
		fmt.Println(move.Entity, state, version)
	}
	// Output:
	// captured: applied
	// placed: applied
	// cancelled: rejected
	// order/42 paid 2
}

func ExampleSplit() {
	var records []*versioning.Record
	for _, key := range []string{"a", "a", "a"} {
		records = append(records, &versioning.Record{Changes: []versioning.Change{{Machine: "order", Key: key, Event: "noted"}}})
	}
	lists, _ := versioning.Split(records, nil, 4)
	for _, list := range lists {
		if len(list) > 0 {
			fmt.Println(len(list), "records of one entity are in one list")
		}
	}
	// Output: 3 records of one entity are in one list
}
