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

// TestDeadLettersOfRanges checks that a record does not count as a dead letter because
// another record in its range is one, or because the same record is one for another
// machine.
func TestDeadLettersOfRanges(t *testing.T) {
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
	// Dead letters between, before, after and far from the records that follow.
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

// TestEveryKindOfPast mixes in one batch entities whose past is read with their rows
// and entities whose past is looked up separately: old versions, steps after the first
// ones, deleted rows.
func TestEveryKindOfPast(t *testing.T) {
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

// TestConnectionsComeBackClean checks that after a transaction, however it ends, its
// connection is in no transaction and has none of its settings.
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
		if when == "moved by another writer" && pid != backend {
			t.Errorf("%s: the connection was closed", when)
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
	clean("moved by another writer")

	ctx, cancel := context.WithCancel(t.Context())
	tr.before(func(context.Context, *pgx.Conn) { cancel() })
	records := []*versioning.Record{l.say("a", "shipped")}
	prepare(store, records)
	if _, err := store.Apply(ctx, "", records); err == nil {
		t.Error("a canceled Apply returned no error")
	}
	tr.before(nil)
	clean("cancelled")
	wantVerdicts(t, apply(t, store, records...), "applied")
	wantRows(t, pool, `SELECT state || ' ' || version FROM orders`, "shipped 4")
}

// TestHistoryOutlivesVersions checks that a duplicate is found whatever the row's
// version says: a row that was deleted and re-created, or reset, has a longer history
// than its version says.
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

	mustExec(t, pool, `INSERT INTO orders VALUES ('reused', 'pending', 100)`)
	adopted := l.say("reused", "noted")
	wantVerdicts(t, apply(t, store, adopted, l.say("reused", "noted")), "applied", "applied")
	mustExec(t, pool, `DELETE FROM orders WHERE id = 'reused'; INSERT INTO orders VALUES ('reused', 'pending', 1)`)
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
