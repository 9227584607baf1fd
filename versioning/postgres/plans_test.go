package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
