package postgres_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// lightNext calls the state pending reserved, and takes one more event.
func lightNext() *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 2,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "reserved"},
			{Event: "captured", From: statemachine.In("reserved"), To: "paid"},
			{Event: "declined", From: statemachine.In("reserved"), To: "cancelled"},
			{Event: "cancelled", From: statemachine.In("reserved"), To: "cancelled"},
		},
		Terminal:   statemachine.In("paid", "cancelled"),
		Migrations: []statemachine.Migration{{From: statemachine.In("pending"), To: "reserved"}},
	})
}

// A state gets another name. The entities in it are migrated while workers run.
func ExampleStore_Migrate() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "placed"), asked(1, "43", "placed"))

	if store, err = postgres.Open(ctx, pool, postgres.Table{Machine: lightNext(), Name: "orders"}); err != nil {
		fmt.Println(err)
		return
	}
	for _, how := range []postgres.Migration{{DryRun: true}, {Batch: 100, PerSecond: 1000}} {
		done, err := store.Migrate(ctx, how)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(done.Moved, "moved,", done.Left, "left")
	}
	settle(ctx, store, asked(2, "43", "captured"))
	// Output:
	// orders/0@0 applied
	// orders/0@1 applied
	// 2 moved, 0 left
	// 2 moved, 0 left
	// orders/0@2 applied
}

// The database remembers each definition. A version that was rolled back is withdrawn.
func ExampleStore_Withdraw() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	var store *postgres.Store
	for _, machine := range []*statemachine.Machine{light, lightNext()} {
		var err error
		if store, err = postgres.Open(ctx, pool, postgres.Table{Machine: machine, Name: "orders"}); err != nil {
			fmt.Println(err)
			return
		}
	}
	if ok, err := store.Withdraw(ctx, "order", 2); !ok || err != nil {
		fmt.Println(ok, err)
	}
	definitions, err := store.Definitions(ctx, "order")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range definitions {
		fmt.Println(d.Outline.Version, d.Outline.States, d.Withdrawn)
	}
	// Output:
	// 1 [cancelled paid pending] false
	// 2 [cancelled paid reserved] true
}

// What an older version has made a dead letter, because it did not know the event, is judged
// again by a newer one. Package consumer does this.
func ExampleStore_RedriveOlder() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "declined"))

	if store, err = postgres.Open(ctx, pool, postgres.Table{Machine: lightNext(), Name: "orders"}); err != nil {
		fmt.Println(err)
		return
	}
	settled, more, err := store.RedriveOlder(ctx, map[string][]int32{"orders": {0}}, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: "42", Event: "declined"}}, nil
	})
	for _, s := range settled {
		fmt.Println(s.Record.Origin, s.Outcome.Verdict, s.Outcome.Reason)
	}
	fmt.Println(more, err)
	// Output:
	// orders/0@0 rejected
	// orders/0@0 early no_entity
	// false <nil>
}

// A program looks at the states and the history of all orders, without being a worker.
func ExampleReader() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	table := postgres.Table{Machine: light, Name: "orders"}
	store, err := postgres.Open(ctx, pool, table)
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, store, asked(0, "42", "placed"), asked(1, "42", "captured"))

	reader, err := postgres.OpenReader(ctx, pool, "", table)
	if err != nil {
		fmt.Println(err)
		return
	}
	definitions, err := reader.Definitions(ctx, "order")
	if err != nil {
		fmt.Println(err)
		return
	}
	states, _, err := reader.CountStates(ctx, "order")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(definitions), "definition,", states[0].Rows, "row in", states[0].State)
	err = reader.History(ctx, "order", -1, func(s *postgres.HistoryStep) error {
		fmt.Println(s.Key, s.Version, s.Event, s.To)
		return nil
	})
	fmt.Println(err)
	// Output:
	// orders/0@0 applied
	// orders/0@1 applied
	// 1 definition, 1 row in paid
	// 42 1 placed pending
	// 42 2 captured paid
	// <nil>
}
