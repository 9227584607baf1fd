package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
	"github.com/pawl-go/pawl/versioning/versioningtest"
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

// migrated is a database with schema pawl.
var migrated = testenv.Template("pawl", migrate.Up)

// withOrders is a database with schema pawl and a table orders.
var withOrders = testenv.Template("orders", createOrders)

func createOrders(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	return execute(ctx, url, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
		note text, amount numeric CHECK (amount < 1000), code text UNIQUE)`)
}

func execute(ctx context.Context, url, ddl string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, ddl)
	return err
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// query returns one text per row.
func query(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func wantRows(t *testing.T, pool *pgxpool.Pool, sql string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, append([]string(nil), query(t, pool, sql)...)); diff != "" {
		t.Errorf("%s (-want, +got):\n%s", sql, diff)
	}
}

func open(t *testing.T, pool *pgxpool.Pool, tables ...postgres.Table) *postgres.Store {
	t.Helper()
	store, err := postgres.Open(t.Context(), pool, tables...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func openIn(t *testing.T, pool *pgxpool.Pool, schema string, tables ...postgres.Table) *postgres.Store {
	t.Helper()
	store, err := postgres.OpenIn(t.Context(), pool, schema, tables...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// in rewrites a statement about schema pawl for another schema.
func in(schema, sql string) string { return migrations.Schema(schema).SQL(sql) }

// openOrders opens a store on the table orders of a separate database.
func openOrders(t *testing.T) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, withOrders)
	return pool, open(t, pool, postgres.Table{Machine: order, Name: "orders"})
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

func (l *log) set(key string, event statemachine.Event, set versioning.Columns) *versioning.Record {
	return l.record(versioning.Change{Machine: "order", Key: key, Event: event, Set: set})
}

// apply prepares and applies records, and fails the test on an error.
func apply(t *testing.T, store versioningtest.Store, records ...*versioning.Record) versioning.Result {
	t.Helper()
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return result
}

func prepare(store versioningtest.Store, records []*versioning.Record) {
	for _, r := range records {
		store.Prepare(r)
	}
}

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

func wantVerdicts(t *testing.T, result versioning.Result, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, verdicts(result.Outcomes)); diff != "" {
		t.Errorf("verdicts (-want, +got):\n%s", diff)
		for _, o := range result.Outcomes {
			t.Logf("%s: %s", o.Verdict, o.Detail)
		}
	}
}

// repeat returns a word n times.
func repeat(word string, n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = word
	}
	return words
}

func key(i int) string { return fmt.Sprintf("k%04d", i) }
