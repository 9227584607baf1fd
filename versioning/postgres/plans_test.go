package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestApplyUsesTheKeys checks that no statement of Apply scans a whole table, even if
// it was planned when the table was empty, and that a long history is not scanned for
// each message.
func TestApplyUsesTheKeys(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	const whole = `SELECT relname || ' ' || seq_scan FROM pg_stat_user_tables
WHERE relname IN ('orders', 'transitions', 'parked', 'dead_letters') ORDER BY relname`
	const read = `SELECT coalesce(sum(idx_tup_read), 0)::text FROM pg_stat_user_indexes WHERE relname = 'transitions'`
	before := query(t, pool, whole)
	before[slices.Index(before, "orders 0")] = "orders 1" // Open counts the rows by state

	used, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, used, postgres.Table{Machine: order, Name: "orders"})
	var l log
	apply(t, store, l.say("early", "captured"))
	apply(t, store, l.say("wrong", "placed"), l.say("wrong", "shipped"), l.say("wrong", "cancelled"), l.say("wrong", "noted"))
	const steps = 500
	long := []*versioning.Record{l.say("long", "placed")}
	for len(long) < steps {
		long = append(long, l.say("long", "noted"))
	}
	apply(t, store, long...)
	result := apply(t, store, long...)
	for i, o := range result.Outcomes {
		if o.Verdict != versioning.Duplicate {
			t.Fatalf("record %d of a replay: %+v", i, o)
		}
	}
	used.Close() // connections report their statistics when they close

	var n int
	testenv.Eventually(t, 10*time.Second, func() error {
		if _, err := fmt.Sscan(query(t, pool, read)[0], &n); err != nil {
			return err
		}
		if n < steps-16 {
			return fmt.Errorf("the statistics have %d index entries so far", n)
		}
		return nil
	})
	if n > 2*steps {
		t.Errorf("%d index entries of the history were read to find %d messages", n, steps)
	}
	wantRows(t, pool, whole, before...)
}

// TestDeletePacksUsesTheKeys checks that the deletion of packs looks them up, even if PostgreSQL
// made its plan when it knew that the outbox was empty. A scan would also read all that was
// deleted before, as long as somebody holds a snapshot.
func TestDeletePacksUsesTheKeys(t *testing.T) {
	t.Parallel()
	pool, _ := openNotes(t, postgres.Table{})
	mustExec(t, pool, `ANALYZE pawl.outbox`)
	used, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, used, postgres.Table{Machine: noting, Name: "thing"})
	if err := store.DeletePacks(t.Context(), []versioning.PackRef{{ID: 1}}, false); err != nil { // so the plan is made
		t.Fatal(err)
	}
	mustExec(t, pool, `INSERT INTO pawl.outbox (token, slot, lane, n, messages) SELECT g, g % 2, g % 4, 1, '' FROM generate_series(1, 5000) AS g`)
	rows, err := pool.Query(t.Context(), `SELECT id, token, lane, slot FROM pawl.outbox ORDER BY id LIMIT 100`)
	if err != nil {
		t.Fatal(err)
	}
	packs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[versioning.PackRef])
	if err != nil {
		t.Fatal(err)
	}
	for durable := range 2 {
		if err := store.DeletePacks(t.Context(), packs[durable*50:][:50], durable == 1); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.outbox`, "4900")
	used.Close() // connections report their statistics when they close

	const read = `SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname LIKE 'outbox%'`
	var n int
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := pool.QueryRow(t.Context(), read).Scan(&n); err != nil {
			return err
		}
		if n < len(packs) {
			return fmt.Errorf("the statistics have %d index entries so far", n)
		}
		return nil
	})
	if n > 3*len(packs) {
		t.Errorf("%d index entries of the outbox were read to delete %d packs", n, len(packs))
	}
}
