package postgres_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// TestDeadLettersOfStretches checks that a record is not taken for a dead letter
// because others between those of its batch are, or the same record is for another
// machine.
func TestDeadLettersOfStretches(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	record := func(offset int64, key string, event statemachine.Event) *versioning.Record {
		r := &versioning.Record{
			Origin:  versioning.Origin{Topic: "orders", TopicID: [16]byte{1}, Partition: 3, Offset: offset},
			Changes: []versioning.Change{{Key: key, Event: event}},
		}
		store.Prepare(r)
		return r
	}
	// Dead letters between, before, behind and far from what comes then.
	for _, offset := range []int64{5, 7, 9, 12, 600, 5000} {
		wantVerdicts(t, apply(t, store, record(offset, "dead", "nosuch")), "rejected unknown_event")
	}
	mustExec(t, pool, `INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail, machine, entity, event, headers, "timestamp")
		SELECT topic_id, partition, 8, 'another', topic, verdict, reason, detail, 'another', entity, event, headers, "timestamp"
		FROM pawl.dead_letters WHERE "offset" = 7`)
	wantVerdicts(t, apply(t, store,
		record(10, "a", "placed"), record(6, "b", "placed"), record(7, "c", "placed"), record(8, "d", "placed"),
		record(5000, "e", "placed"), record(700, "f", "placed"), record(11, "g", "placed"),
	), "applied", "applied", "rejected unknown_event", "applied", "rejected unknown_event", "applied", "applied")
}

// TestPastOfEverySort mixes, in one batch, entities whose past comes with their rows
// and those whose history has to be asked: versions that are left behind, steps beyond
// the first ones, rows that are gone.
func TestPastOfEverySort(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	long := []*versioning.Record{l.say("long", "placed")}
	for range 40 {
		long = append(long, l.say("long", "noted"))
	}
	short := []*versioning.Record{l.say("short", "placed"), l.say("short", "captured")}
	versioned := []*versioning.Record{l.say("versioned", "placed"), l.say("versioned", "captured")}
	versioned[0].Changes[0].Expected, versioned[1].Changes[0].Expected = versioning.At(0), versioning.At(1)
	gone := []*versioning.Record{l.say("gone", "placed"), l.say("gone", "captured")}
	all := slices.Concat(long, short, versioned, gone)
	for _, o := range apply(t, store, all...).Outcomes {
		if o.Verdict != versioning.Applied {
			t.Fatalf("at first: %+v", o)
		}
	}
	mustExec(t, pool, `DELETE FROM orders WHERE id = 'gone'`)
	for name, records := range map[string][]*versioning.Record{
		"all": all, "long": long, "short": short, "versioned": versioned, "gone": gone,
	} {
		for _, o := range apply(t, store, records...).Outcomes {
			if o.Verdict != versioning.Duplicate {
				t.Fatalf("%s again: %+v", name, o)
			}
		}
	}
	wantVerdicts(t, apply(t, store, l.say("long", "noted"), l.say("gone", "placed"), l.say("new", "placed"), l.say("short", "shipped")),
		"applied", "rejected entity_gone", "applied", "applied")
}

// TestConnectionsComeBackClean checks that whatever becomes of a transaction, its
// connection is not in one afterwards, and has none of its settings.
func TestConnectionsComeBackClean(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool, func(c *pgxpool.Config) { c.MaxConns = 1 })
	var backend uint32
	clean := func(when string) {
		t.Helper()
		conn, err := tr.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		wantClean(t, conn.Conn())
		pid := conn.Conn().PgConn().PID()
		if when == "moved by someone else" && pid != backend {
			t.Errorf("%s: the connection was given up", when)
		}
		backend = pid
	}
	var l log
	created := l.say("a", "placed")
	wantVerdicts(t, apply(t, store, created), "applied")
	clean("applied")
	wantVerdicts(t, apply(t, store, created), "duplicate")
	clean("nothing to write")

	tr.before(first(1, func() { mustExec(t, pool, `UPDATE orders SET version = version + 1 WHERE id = 'a'`) }))
	wantVerdicts(t, apply(t, store, l.say("a", "captured")), "applied")
	tr.before(nil)
	clean("moved by someone else")

	ctx, cancel := context.WithCancel(t.Context())
	tr.before(func(context.Context, *pgx.Conn) { cancel() })
	records := []*versioning.Record{l.say("a", "shipped")}
	prepare(store, records)
	if _, err := store.Apply(ctx, "", records); err == nil {
		t.Error("a cancelled Apply returned no error")
	}
	tr.before(nil)
	clean("cancelled")
	wantVerdicts(t, apply(t, store, records...), "applied")
	wantRows(t, pool, `SELECT state || ' ' || version FROM orders`, "shipped 4")
}

// TestHistoryOutlivesVersions checks that a duplicate is found whatever the row's version
// is: a row that was removed and made anew, or set back, has a longer history than it
// tells.
func TestHistoryOutlivesVersions(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	long := []*versioning.Record{l.say("back", "placed")}
	for range 24 {
		long = append(long, l.say("back", "noted"))
	}
	apply(t, store, long...)
	mustExec(t, pool, `UPDATE orders SET version = 10 WHERE id = 'back'`)
	for _, step := range []int{0, 15, 16, 20, 24} {
		again := *long[step]
		wantVerdicts(t, apply(t, store, &again), "duplicate")
	}

	mustExec(t, pool, `INSERT INTO orders VALUES ('anew', 'pending', 100)`)
	adopted := l.say("anew", "noted")
	wantVerdicts(t, apply(t, store, adopted, l.say("anew", "noted")), "applied", "applied")
	mustExec(t, pool, `DELETE FROM orders WHERE id = 'anew'; INSERT INTO orders VALUES ('anew', 'pending', 1)`)
	again := *adopted
	wantVerdicts(t, apply(t, store, &again), "duplicate")

	mustExec(t, pool, `INSERT INTO orders VALUES ('below', 'pending', -30)`)
	var below []*versioning.Record
	for range 60 {
		below = append(below, l.say("below", "noted"))
	}
	apply(t, store, below...)
	for _, step := range []int{0, 16, 17, 40, 45, 46, 59} {
		again := *below[step]
		wantVerdicts(t, apply(t, store, &again), "duplicate")
	}
}
