package postgres_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
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

func ExampleOpen() { //nolint:testableexamples // it needs a server
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://localhost/shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()

	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err) // all problems at once
		return
	}

	r := &versioning.Record{
		Origin: versioning.Origin{Topic: "orders", Offset: 1},
		Changes: []versioning.Change{{
			Key: "42", Event: "placed", Set: versioning.Columns{"total": "12.50"},
		}},
	}
	store.Prepare(r)
	result, err := store.Apply(ctx, "", []*versioning.Record{r})
	if err != nil {
		fmt.Println(versioning.CauseOf(err), err)
		return
	}
	fmt.Println(result.Outcomes[0].Verdict)
}

// Open reports all problems with its tables at once, before it connects.
func ExampleOpen_problems() {
	pool, err := pgxpool.New(context.Background(), "postgres://localhost/shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()

	_, err = postgres.Open(context.Background(), pool,
		postgres.Table{Machine: light},
		postgres.Table{Machine: light, Name: "orders", MaxParked: -1},
	)
	fmt.Println(err)
	// Output:
	// open store: the table of machine "order" has no Name
	// machine "order" has two tables
	// machine "order": MaxParked is -1; it must not be negative
}
