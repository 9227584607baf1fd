package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestFailuresInEveryMode checks, in each of pgx's query modes, that a failed statement
// keeps the transaction from committing, and leaves nothing on the connection: a failed
// guard, a constraint, a constraint that only COMMIT checks, a deadline at any time.
func TestFailuresInEveryMode(t *testing.T) {
	t.Parallel()
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			pool, other := openOrders(t)
			fail(t, pool, pool, mode, other)
		})
	}
}

// fail runs these checks with stores on two pools for the same database.
func fail(t *testing.T, pool, stores *pgxpool.Pool, mode pgx.QueryExecMode, other *postgres.Store) {
	t.Helper()
	mustExec(t, pool, `CREATE TABLE codes (code text PRIMARY KEY); INSERT INTO codes VALUES ('ok')`)
	mustExec(t, pool, `ALTER TABLE orders ADD FOREIGN KEY (note) REFERENCES codes DEFERRABLE INITIALLY DEFERRED`)
	store, tr := traced(t, stores, func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode, c.MaxConns = mode, 1
		c.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) { wantClean(t, conn); return true, nil }
	})
	var l log
	wantVerdicts(t, apply(t, store, l.say("a", "placed")), "applied")
	tr.before(first(1, func() { apply(t, other, l.say("a", "noted")) })) // moved in between
	wantVerdicts(t, apply(t, store, l.say("a", "captured")), "applied")
	tr.before(first(1, func() { apply(t, other, l.say("b", "placed")) })) // created in between
	wantVerdicts(t, apply(t, store, l.say("b", "placed")), "rejected illegal")
	tr.before(nil)
	wantVerdicts(t, apply(t, store,
		l.set("c", "placed", versioning.Columns{"note": "ok"}),
		l.set("d", "placed", versioning.Columns{"note": "missing"}), // the COMMIT refuses it
		l.set("e", "placed", versioning.Columns{"amount": 5000}),    // the INSERT does
		l.say("f", "placed"),
	), "applied", "rejected constraint", "rejected constraint", "applied")
	wantRows(t, pool, `SELECT id||state||version FROM orders ORDER BY id`, "apaid3", "bpending1", "cpending1", "fpending1")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions`, "6")
	mustExec(t, pool, `ALTER TABLE orders ALTER COLUMN id TYPE varchar(40), ALTER COLUMN version TYPE int, ADD COLUMN late int`)
	wantVerdicts(t, apply(t, store, l.say("a", "shipped"), l.say("g", "placed")), "applied", "applied")

	for wait := time.Duration(0); wait < 4*time.Millisecond; wait += 200 * time.Microsecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		x, y := fmt.Sprint("x", wait), fmt.Sprint("y", wait)
		records := []*versioning.Record{l.say(x, "placed"), l.say(y, "placed")}
		prepare(store, records)
		_, err := store.Apply(ctx, "", records)
		cancel()
		if err != nil && versioning.CauseOf(err) != versioning.Infrastructure {
			t.Errorf("after %v: %v", wait, err)
		}
		var rows int
		if scan := pool.QueryRow(t.Context(), `SELECT count(*) FROM orders WHERE id IN ($1, $2)`, x, y).Scan(&rows); scan != nil {
			t.Fatal(scan)
		}
		if rows == 1 || err == nil && rows != 2 {
			t.Errorf("after %v: %d of 2 rows, and %v", wait, rows, err)
		}
	}
}

// wantClean checks that a connection is in no transaction, and has none of a
// transaction's settings.
func wantClean(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if status := conn.PgConn().TxStatus(); status != 'I' {
		t.Errorf("a connection in transaction status %q", status)
	}
	var settings string
	err := conn.QueryRow(context.WithoutCancel(t.Context()),
		`SELECT current_setting('enable_seqscan') || ' ' || current_setting('plan_cache_mode')`, pgx.QueryExecModeExec).Scan(&settings)
	if err != nil || settings != "on auto" {
		t.Errorf("a connection with the settings %q, %v", settings, err)
	}
}
