package versioning_test

import (
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// The event of a timer happens by a record that the store makes. It is the same for the same
// timer, so a timer that fires twice is a duplicate.
func ExampleTimerRecord() {
	due := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := versioning.TimerRecord(versioning.Entity{Machine: "order", Key: "42"}, versioning.Timer{Event: "expired", Version: 1, Due: due})
	fmt.Println(r.IsTimer(), r.Origin.Topic, r.Changes[0].MessageID)
	fmt.Printf("%s\n", r.Value)
	changes, err := versioning.DecodeTimer(&versioning.Record{Value: r.Value}) // as a redrive does
	fmt.Println(changes[0].Key, changes[0].Event, changes[0].Armed, err)
	// Output:
	// true pawl.timers pawl.timer/1/expired
	// {"machine":"order","entity":"42","event":"expired","armed_version":1,"due":"2026-03-01T12:00:00Z"}
	// 42 expired 1 <nil>
}

// A store asks each move for the timers that it arms.
func ExampleMove_Timers() {
	order := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "noted", From: statemachine.In("pending"), To: "pending"},
			{Event: "expired", From: statemachine.In("pending"), To: "cancelled", After: time.Hour},
		},
		Terminal: statemachine.In("cancelled"),
	})
	rules := versioningtest.NewMemory(versioning.Rules{Machine: order}).Rules()
	var records []*versioning.Record
	for i, event := range []statemachine.Event{"placed", "noted"} {
		r := &versioning.Record{Origin: versioning.Origin{Topic: "orders", Offset: int64(i)}, Changes: []versioning.Change{{Key: "42", Event: event}}}
		versioning.Prepare(rules, r)
		records = append(records, r)
	}
	plan := versioning.Fold(rules, versioning.NewView(1), records)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, t := range plan.Moves[0].Timers(order, now) {
		fmt.Println(t.Event, "at", t.Due, "unless the entity has left the state that it had at version", t.Version)
	}
	// Output:
	// expired at 2026-03-01 13:00:00 +0000 UTC unless the entity has left the state that it had at version 1
}
