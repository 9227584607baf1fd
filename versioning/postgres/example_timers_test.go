package postgres_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// An order that is not paid in time is cancelled. Workers fire timers by themselves.
func ExampleStore_FireTimers() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	impatient := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "captured", From: statemachine.In("pending"), To: "paid"},
			{Event: "expired", From: statemachine.In("pending"), To: "cancelled", After: time.Millisecond},
			{Event: "archived", From: statemachine.In("paid"), To: "done", AfterPeriod: statemachine.Period{Years: 10}},
		},
		Terminal: statemachine.In("done", "cancelled"),
	})
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: impatient, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "placed"), asked(1, "43", "placed"), asked(2, "43", "captured"))
	time.Sleep(2 * time.Millisecond)
	for more := true; more; {
		fired, err := store.FireTimers(ctx, 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, s := range fired.Outcomes {
			fmt.Println(s.Record.Entity(0), s.Record.Changes[0].Event, s.Outcome.Verdict)
		}
		more = fired.More
	}
	counts, err := store.CountTimers(ctx)
	fmt.Println(counts.Pending, "pending,", counts.Overdue, "overdue", err)
	armed, err := store.Timers(ctx, postgres.TimerFilter{Machine: "order", Key: "43"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range armed {
		fmt.Println(t.Entity, t.Event, "armed at version", t.Version, "due in years:", int(time.Until(t.Due).Hours()/24/365))
	}
	// Output:
	// orders/0@0 applied
	// orders/0@1 applied
	// orders/0@2 applied
	// order/42 expired applied
	// 1 pending, 0 overdue <nil>
	// order/43 archived armed at version 2 due in years: 10
}
