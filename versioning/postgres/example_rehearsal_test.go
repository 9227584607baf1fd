package postgres_test

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A rehearsal says what Apply would say, and writes nothing.
func ExampleRehearsal() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	rehearsal, err := postgres.OpenRehearsal(ctx, pool, "pawl", postgres.Table{Machine: light, Name: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var records []*versioning.Record
	for offset, event := range []statemachine.Event{"placed", "captured", "cancelled"} {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "orders", Offset: int64(offset)},
			Changes: []versioning.Change{{Machine: "order", Key: "42", Event: event}},
		}
		rehearsal.Prepare(r)
		records = append(records, r)
	}
	lists, _, err := rehearsal.Split(ctx, records, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, list := range lists {
		result, err := rehearsal.Apply(ctx, "", list)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, o := range result.Outcomes {
			fmt.Println(o.Event, "would be", o.Verdict)
		}
	}
	for more := true; more; {
		if more, err = rehearsal.LookUpOrigins(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(rehearsal.Changed(), "entity would change;", rehearsal.Redecoded().Records, "records are decoded to something else,",
		rehearsal.Kept(), "stay parked or dead letters")
	fmt.Println(rehearsal.Close())
	var rows int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&rows); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rows, "rows")
	layout, _ := rehearsal.Layout("order")
	fmt.Println("in", layout.Table, "by", layout.Key)
	// Output:
	// placed would be applied
	// captured would be applied
	// cancelled would be rejected
	// 1 entity would change; 0 records are decoded to something else, 0 stay parked or dead letters
	// <nil>
	// 0 rows
	// in "public"."orders" by "id"
}

// A layout has the names that SQL about a machine's entities needs.
func ExampleStore_Layout() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	layout, ok := store.Layout("order")
	fmt.Println(ok, layout.Table, layout.Key, layout.State, layout.Version)
	// Output:
	// true "public"."orders" "id" "state" "version"
}

// A script that removes the history of an entity excludes the workers meanwhile.
func ExampleExclude() {
	ctx := context.Background()
	pool, closePool := connect(ctx)
	defer closePool()
	tx, err := pool.Begin(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
		fmt.Println(err)
		return
	}
	if err := postgres.Exclude(ctx, tx, "pawl"); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := tx.Exec(ctx, "DELETE FROM pawl.transitions WHERE machine = 'order' AND entity = '42'"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tx.Commit(ctx))
	// Output:
	// <nil>
}

// The message was applied with another note. Its digest shows that, and not what the note was.
func ExampleDecoded_SameColumns() {
	then := postgres.Decoded{Event: "placed", Digest: 7}
	now := postgres.Decoded{Event: "placed", Digest: 8}
	fmt.Println(then.SameColumns(now))
	// Output:
	// false
}
