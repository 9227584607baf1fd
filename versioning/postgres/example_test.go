package postgres_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
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

// exampleTables is a database with schema pawl and the tables of the examples.
var exampleTables = testenv.Template("examples", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	return execute(ctx, url, `
CREATE TABLE orders (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, total numeric CHECK (total > 0));
CREATE SCHEMA acme;
CREATE TABLE acme.orders (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
})

// connect returns a pool on a database with a table orders, and a function that closes the
// pool and drops the database.
func connect(ctx context.Context) (pool *pgxpool.Pool, closePool func()) {
	url, drop := testenv.ExamplePostgres(exampleTables)
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		panic(err)
	}
	return pool, func() {
		pool.Close()
		drop()
	}
}

// openShop returns a store of the table orders.
func openShop(ctx context.Context) (store *postgres.Store, closePool func()) {
	pool, closePool := connect(ctx)
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		panic(err)
	}
	return store, closePool
}

// asked returns a record with one change.
func asked(offset int64, key string, event statemachine.Event) *versioning.Record {
	return &versioning.Record{
		Origin:  versioning.Origin{Topic: "orders", Offset: offset},
		Changes: []versioning.Change{{Key: key, Event: event}},
	}
}

// settle does what a worker does with a batch, and prints the verdicts.
func settle(ctx context.Context, store *postgres.Store, records ...*versioning.Record) {
	for _, r := range records {
		store.Prepare(r)
	}
	result, err := store.Apply(ctx, "", records)
	if err != nil {
		fmt.Println(versioning.CauseOf(err), err)
	}
	for i, o := range result.Outcomes {
		fmt.Println(records[i].Origin, o.Verdict)
	}
}

// A program that applies records without a worker: it gets a verdict for each.
func ExampleOpen() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()

	// CREATE TABLE orders (id text COLLATE "C" PRIMARY KEY, state text NOT NULL,
	//     version bigint NOT NULL, total numeric CHECK (total > 0))
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
	for range 2 { // delivered twice
		store.Prepare(r)
		result, err := store.Apply(ctx, "", []*versioning.Record{r})
		if err != nil {
			fmt.Println(versioning.CauseOf(err), err)
			return
		}
		fmt.Println(result.Outcomes[0].Verdict)
	}
	var state, total string
	if err := pool.QueryRow(ctx, `SELECT state, total::text FROM orders WHERE id = '42'`).Scan(&state, &total); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("order 42 is", state, "for", total)
	// Output:
	// applied
	// duplicate
	// order 42 is pending for 12.50
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

// Each tenant has a table and a framework schema, and shares nothing with the others.
func ExampleOpenIn() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	// As pawl migrate up --schema acme does.
	if err := migrate.UpIn(ctx, pool.Config().ConnString(), "acme"); err != nil {
		fmt.Println(err)
		return
	}

	acme, err := postgres.OpenIn(ctx, pool, "acme", postgres.Table{Machine: light, Name: "acme.orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	others, err := postgres.Open(ctx, pool, postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	settle(ctx, acme, asked(0, "42", "placed"))
	settle(ctx, others, asked(0, "42", "placed"))
	// Output:
	// orders/0@0 applied
	// orders/0@0 applied
}
