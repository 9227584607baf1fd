package postgres_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// An operator looks at the database without the code of the machines.
func ExampleOperator() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "placed"), asked(1, "43", "captured"))

	operator, err := postgres.OpenOperator(ctx, pool, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	status, err := operator.Status(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range status.Machines {
		fmt.Println(m.Name, "rows:", m.Rows.N, "parked:", m.Parked.Count.N, "timers:", m.Timers.Pending)
	}
	view, err := operator.Entity(ctx, postgres.EntityQuery{Entity: versioning.Entity{Machine: "order", Key: "42"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(view.Found(), view.Row.State, "after", view.History[0].Event)

	machines, _ := operator.Machines(ctx)
	definitions, _ := operator.Definitions(ctx, "order")
	timers, _, _ := operator.Timers(ctx, postgres.TimerFilter{})
	unsent, _ := operator.Unsent(ctx, postgres.UnsentFilter{})
	now, _ := operator.Now(ctx)
	fmt.Println(machines[0].Table, len(definitions), len(timers), len(unsent), now.IsZero())
	// Output:
	// orders/0@0 applied
	// orders/0@1 early
	// order rows: 1 parked: 1 timers: 0
	// true pending after placed
	// "public"."orders" 1 0 0 false
}

// What an operator drops is recorded in the table audit, in the same transaction.
func ExampleOperator_DropDeadLetters() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "vanished"), asked(1, "43", "captured"))
	operator, err := postgres.OpenOperator(ctx, pool, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	act := postgres.Act{As: "ada@example.org", Verb: "tidy up"}

	letters := postgres.DeadLetterFilter{Reason: versioning.ReasonUnknownEvent}
	count, _ := operator.CountDeadLetters(ctx, letters)
	dead, _ := operator.DeadLetters(ctx, letters)
	dropped, err := operator.DropDeadLetters(ctx, act, letters)
	fmt.Println(count.N, len(dead), dropped, err)

	count, _ = operator.CountParked(ctx, postgres.ParkedQuery{})
	parked, _ := operator.Parked(ctx, postgres.ParkedQuery{})
	dropped, err = operator.DropParked(ctx, act, postgres.ParkedQuery{IDs: []int64{parked[0].ID}})
	fmt.Println(count.N, parked[0].Entity, dropped, err)

	entries, err := operator.Audit(ctx, postgres.AuditFilter{})
	for _, e := range entries {
		fmt.Println(e.As, e.Verb, e.Rows)
	}
	fmt.Println(err)
	// Output:
	// orders/0@0 rejected
	// orders/0@1 early
	// 1 1 1 <nil>
	// 1 order/43 1 <nil>
	// ada@example.org tidy up 1
	// ada@example.org tidy up 1
	// <nil>
}

// A redrive by a person is recorded.
func ExampleStore_RedriveAs() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	settle(ctx, store, asked(0, "42", "palced"))
	letters, err := store.DeadLetters(ctx, postgres.DeadLetterFilter{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fixed := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "42", Event: "placed"}}, nil
	}
	outcomes, err := store.RedriveAs(ctx, postgres.Act{As: "ada@example.org", Verb: "correct a name"}, letters, fixed)
	fmt.Println(outcomes[0].Verdict, err)
	// Output:
	// orders/0@0 rejected
	// applied <nil>
}
