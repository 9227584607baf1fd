package versioning_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "order.placed", To: "pending"},
		{Event: "payment.captured", From: statemachine.In("pending"), To: "paid"},
		{Event: "order.shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "order.delivered", From: statemachine.In("shipped"), To: "delivered"},
		{Event: "order.cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("delivered", "cancelled"),
})

func schema(ddl string) testenv.Option {
	return testenv.Template(fmt.Sprintf("%x", len(ddl)), func(ctx context.Context, url string) error {
		if err := migrations.Up(ctx, url); err != nil {
			return err
		}
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, ddl)
		return err
	})
}

func TestSmoke(t *testing.T) {
	pool := testenv.Pool(t, schema(`CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, total numeric, tags text[], note text DEFAULT 'x')`))
	ctx := t.Context()
	store, err := versioning.Open(ctx, pool, versioning.Table{Machine: order, Name: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	off := int64(0)
	rec := func(key, event string, set versioning.Columns) *versioning.Record {
		off++
		r := &versioning.Record{Origin: versioning.Origin{Topic: "t", Offset: off}, Changes: []versioning.Change{{Key: key, Event: statemachine.Event(event), Set: set}}}
		store.Prepare(r)
		return r
	}
	recs := []*versioning.Record{
		rec("a", "order.placed", versioning.Columns{"total": 12.5, "tags": []string{"x", "y"}}),
		rec("b", "order.shipped", nil),
		rec("a", "payment.captured", nil),
		rec("b", "payment.captured", nil),
		rec("a", "nonsense", nil),
		rec("b", "order.placed", nil),
		rec("c", "order.placed", versioning.Columns{"note": nil}),
	}
	for i := range 2 {
		res, err := store.Apply(ctx, recs)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range res.Outcomes {
			t.Log(i, o.Verdict, o.Reason, o.Entity, o.Event, o.Detail)
		}
	}
	rows, _ := pool.Query(ctx, "select row(o.*)::text from orders o")
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	t.Log(all, err)
	res, err := store.Apply(ctx, []*versioning.Record{rec("d", "order.shipped", nil), rec("e", "order.placed", versioning.Columns{"total": "abc"}), rec("f", "order.placed", nil)})
	t.Log(res, err)
	res, err = store.Apply(ctx, []*versioning.Record{rec("d", "order.placed", nil), rec("d", "payment.captured", nil)})
	t.Log(res, err)
}
