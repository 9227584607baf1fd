package postgres_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// sent returns a record with a message ID, and a former ID if that is not empty.
func (l *log) sent(key string, event statemachine.Event, id, former string, set versioning.Columns) *versioning.Record {
	return l.record(versioning.Change{Machine: "order", Key: key, Event: event, MessageID: id, FormerID: former, Set: set})
}

// redelivered returns a record again, decoded differently.
func redelivered(r *versioning.Record, event statemachine.Event, id, former string) *versioning.Record {
	again := &versioning.Record{Origin: r.Origin}
	again.Changes = []versioning.Change{{
		Machine: "order", Key: r.Changes[0].Key, Event: event, MessageID: id, FormerID: former,
		Set: versioning.Columns{"note": "decoded otherwise"},
	}}
	return again
}

// TestExistingDatabase checks that nothing is applied twice after an upgrade. The
// history of a database of version 2 has message IDs without the source, and no
// digests.
func TestExistingDatabase(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withOrders)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	table := postgres.Table{Machine: order, Name: "orders"}
	old := open(t, pool, table)
	var l log
	placed, waiting := l.sent("short", "placed", "1", "", nil), l.sent("parked", "captured", "p", "", nil)
	noted := l.sent("long", "noted", "20", "", versioning.Columns{"note": "n"})
	long := []*versioning.Record{l.sent("long", "placed", "0", "", nil)}
	for range 20 {
		long = append(long, l.say("long", "noted"))
	}
	gone := l.sent("gone", "placed", "g", "", nil)
	apply(t, old, append(long, placed, waiting, noted, gone)...)
	mustExec(t, pool, `DELETE FROM orders WHERE id = 'gone'`)
	downTo(t, pool, 2)
	if _, err := postgres.Open(t.Context(), pool, table); err == nil {
		t.Fatal("Open accepts a schema of version 2")
	}
	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	store := open(t, pool, table)
	wantRows(t, pool, `SELECT machine || ' ' || schema || '.' || name FROM pawl.tables`, "order public.orders")
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.transitions WHERE digest IS NOT NULL`, "0")

	other := versioning.Columns{"note": "other"}
	for _, c := range []struct {
		name string
		r    *versioning.Record
		want string
	}{
		{"redelivered", redelivered(placed, "placed", "/s 1", "1"), "duplicate"},
		{"redelivered, decoded to another event", redelivered(placed, "captured", "/s 1", "1"), "duplicate"},
		{"resent", l.sent("short", "placed", "/s 1", "1", nil), "duplicate"},
		{"resent with other columns", l.sent("short", "placed", "/s 1", "1", other), "duplicate"},
		{"a message of another source with the same ID", l.sent("short", "captured", "/payments 1", "1", nil), "applied"},
		{"resent without a source", l.sent("short", "placed", "1", "", other), "duplicate"},
		{"another event without a source", l.sent("short", "cancelled", "1", "", nil), "diverged message_taken"},
		{"a late step, redelivered", redelivered(noted, "captured", "/s 20", "20"), "duplicate"},
		{"a late step, resent", l.sent("long", "noted", "/s 20", "20", other), "duplicate"},
		{"another source, at a late step", l.sent("long", "captured", "/payments 20", "20", nil), "applied"},
		{"another event's ID, at a late step", l.sent("long", "shipped", "20", "", nil), "diverged message_taken"},
		{"a row that is gone, resent", l.sent("gone", "placed", "/s g", "g", nil), "duplicate"},
		{"a record without an ID, redelivered", redelivered(long[3], "noted", "", ""), "duplicate"},
		{"releases a parked record", l.sent("parked", "placed", "/s 1", "1", nil), "applied"},
		{"a released record, resent", l.sent("parked", "captured", "/s p", "p", nil), "duplicate"},
		{"a released record, redelivered", redelivered(waiting, "cancelled", "/s p", "p"), "duplicate"},
	} {
		if got := verdicts(apply(t, store, c.r).Outcomes)[0]; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "long paid 23", "parked paid 2", "short paid 2")
}

// TestMessageIDsOfTwoSources checks that IDs need only be unique within their source.
func TestMessageIDsOfTwoSources(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	wantVerdicts(t, apply(t, store, l.sent("a", "placed", "/orders 1", "1", nil), l.sent("a", "captured", "/payments 1", "1", nil)),
		"applied", "applied")
	wantVerdicts(t, apply(t, store, l.sent("a", "shipped", "/parcels 1", "1", nil)), "applied")
	wantRows(t, pool, `SELECT message_id FROM pawl.transitions ORDER BY version`, "/orders 1", "/payments 1", "/parcels 1")
}

// TestTakenMessageIDs checks messages that use the ID of another message: within the
// batch, in a later batch, among the first steps of the entity and after them. Each
// becomes a dead letter that names both events.
func TestTakenMessageIDs(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	ids := []string{"0"}
	all := []*versioning.Record{l.sent("a", "placed", "0", "", versioning.Columns{"amount": 7})}
	for i := range 40 {
		ids = append(ids, key(i))
		all = append(all, l.sent("a", "noted", key(i), "", versioning.Columns{"note": key(i)}))
	}
	takers := func() (takers []*versioning.Record, want []string) {
		for _, id := range ids {
			takers = append(takers, l.sent("a", "captured", id, "", nil), l.sent("a", "noted", id, "", versioning.Columns{"note": "other"}))
		}
		return takers, repeat("diverged message_taken", len(takers))
	}
	within, want := takers()
	wantVerdicts(t, apply(t, store, append(all, within...)...), append(repeat("applied", len(all)), want...)...)
	later, want := takers()
	wantVerdicts(t, apply(t, store, later...), want...)
	mustExec(t, pool, `DELETE FROM orders`)
	afterwards, want := takers()
	wantVerdicts(t, apply(t, store, afterwards...), want...)
	for i := range all {
		all[i] = l.sent("a", all[i].Changes[0].Event, ids[i], "", all[i].Changes[0].Set)
	}
	wantVerdicts(t, apply(t, store, all...), repeat("duplicate", len(all))...)
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"0"`, `"placed"`, `"captured"`, "orders/0@0"} {
		if o := letters[0].Outcome; o.Verdict != versioning.Diverged || !strings.Contains(o.Detail, part) {
			t.Errorf("%s %q does not name %s", o.Verdict, o.Detail, part)
		}
	}

	// When redriven, each is still the same record.
	letters, err = store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	decode := func(id string) func(*versioning.Record) ([]versioning.Change, error) {
		return func(*versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: "new", Event: "placed", MessageID: id}}, nil
		}
	}
	for i, want := range []versioning.Verdict{versioning.Applied, versioning.Duplicate} {
		got, err := store.Redrive(t.Context(), letters[i:i+1], decode("0"))
		if err != nil || got[0].Verdict != want {
			t.Errorf("redriven: %+v, %v; want %s", got, err, want)
		}
	}
}

// TestDigestsOutliveColumns checks that a message is recognized after the order of the
// table's columns has changed.
func TestDigestsOutliveColumns(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	set := versioning.Columns{"note": "n", "amount": 5, "code": "c"}
	apply(t, store, l.sent("a", "placed", "1", "", set))
	mustExec(t, pool, `ALTER TABLE orders ADD COLUMN aside int, ADD COLUMN b text; ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders RENAME b TO note`)
	store = open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	wantVerdicts(t, apply(t, store, l.sent("a", "placed", "1", "", set)), "duplicate")
}

// TestDecidedUnderFormerIDs checks records that another worker settles at the same
// time, with an earlier version or a different decoder: one record is about to be
// parked, the other to become a dead letter.
func TestDecidedUnderFormerIDs(t *testing.T) {
	t.Parallel()
	pool, plain := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	step := func(r *versioning.Record, offset int64, event, id string) func(context.Context, *pgx.Conn) {
		return first(1, func() {
			mustExec(t, pool, `UPDATE orders SET state = 'paid', version = version + 1 WHERE id = $1`, r.Changes[0].Key)
			mustExec(t, pool, `INSERT INTO pawl.transitions (machine, entity, version, definition_version, event, from_state, to_state,
				message_id, topic, topic_id, partition, "offset")
				SELECT 'order', id, version, 1, $2, 'pending', 'paid', $3, 'orders', $4, 0, $5 FROM orders WHERE id = $1`,
				r.Changes[0].Key, event, id, r.Origin.TopicID, offset)
		})
	}
	parked := []*versioning.Record{
		l.sent("former", "shipped", "/s 1", "1", nil), // by an earlier version, resent
		l.sent("same", "shipped", "2", "", nil),       // the same record, decoded differently
		l.sent("other", "shipped", "3", "", nil),      // a different message
	}
	for i, c := range []struct {
		event, id string
		offset    int64
		want      string
	}{
		{"shipped", "1", 900, "early not_yet"},
		{"captured", "2", parked[1].Origin.Offset, "duplicate"}, // noticed before it is parked
		{"captured", "3", 901, "early not_yet"},
	} {
		apply(t, plain, l.say(parked[i].Changes[0].Key, "placed"))
		tr.before(step(parked[i], c.offset, c.event, c.id))
		wantVerdicts(t, apply(t, store, parked[i]), c.want)
	}
	tr.before(nil)
	got := make(map[string]string)
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range swept.Released {
		got[s.Record.Changes[0].Key] = s.Outcome.Verdict.String()
	}
	if want := map[string]string{"former": "duplicate", "other": "diverged"}; !maps.Equal(got, want) {
		t.Errorf("released %v, want %v", got, want)
	}

	dead := l.sent("dead", "nosuch", "/s 4", "4", nil)
	apply(t, plain, l.say("dead", "placed"))
	tr.before(step(dead, dead.Origin.Offset, "captured", "4"))
	wantVerdicts(t, apply(t, store, dead), "duplicate")
}

// TestEntityTwiceBeyondTheFirstSteps checks that a message with several steps of one
// entity is recognized by each of them, among the steps that are looked up one by one.
func TestEntityTwiceBeyondTheFirstSteps(t *testing.T) {
	t.Parallel()
	_, store := openOrders(t)
	var l log
	long := []*versioning.Record{l.say("a", "placed")}
	for range 40 {
		long = append(long, l.say("a", "noted"))
	}
	apply(t, store, long...)
	note := func(text string) versioning.Change {
		return versioning.Change{Key: "a", Event: "noted", MessageID: "m", Set: versioning.Columns{"note": text}}
	}
	wantVerdicts(t, apply(t, store,
		l.record(note("1"), note("2"), note("3")), l.record(note("1"), note("2"), note("3")), l.record(note("2")), l.record(note("4")),
	), "applied", "duplicate", "duplicate", "diverged message_taken")
	wantVerdicts(t, apply(t, store, l.record(note("1"), note("2"), note("3")), l.record(note("2")), l.record(note("4"))),
		"duplicate", "duplicate", "diverged message_taken")
}
