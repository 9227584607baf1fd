package versioning_test

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// order is the machine of most tests.
var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "captured", From: statemachine.In("pending"), To: "paid"},
		{Event: "noted", From: statemachine.In("pending"), To: "pending"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "delivered", From: statemachine.In("shipped"), To: "delivered"},
		{Event: "cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("delivered", "cancelled"),
})

// verdicts formats outcomes as "verdict reason".
func verdicts(outcomes []versioning.Outcome) []string {
	all := make([]string, len(outcomes))
	for i, o := range outcomes {
		all[i] = o.Verdict.String()
		if o.Reason != "" {
			all[i] += " " + string(o.Reason)
		}
	}
	return all
}

// A log numbers records like a partition.
type log struct{ next int64 }

func (l *log) record(changes ...versioning.Change) *versioning.Record {
	l.next++
	return &versioning.Record{
		Origin:  versioning.Origin{Topic: "orders", TopicID: [16]byte{1}, Offset: l.next - 1},
		Changes: changes,
	}
}

// say returns a record with one change.
func (l *log) say(key string, event statemachine.Event) *versioning.Record {
	return l.record(versioning.Change{Machine: "order", Key: key, Event: event})
}

func key(i int) string { return fmt.Sprintf("k%04d", i) }
