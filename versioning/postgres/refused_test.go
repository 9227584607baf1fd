package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestPoison checks that Apply finds the one record among a thousand that PostgreSQL
// refuses, and rejects it alone.
func TestPoison(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `
CREATE TABLE customers (id int PRIMARY KEY);
ALTER TABLE orders ADD customer int REFERENCES customers DEFERRABLE INITIALLY DEFERRED, ADD deferred_code text UNIQUE DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF new.note = 'raise' THEN RAISE 'no'; END IF;
	IF new.note = 'case' THEN CASE new.note WHEN 'other' THEN NULL; END CASE; END IF;
	IF new.note = 'zero' THEN new.amount = 1 / 0; END IF;
	RETURN new; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO orders (id, state, version, code) VALUES ('there', 'paid', 1, 'taken')`)
	store, tr := traced(t, pool)
	apply(t, store, (&log{next: 1 << 40}).say("warm", "placed"))
	for i, set := range []versioning.Columns{
		{"amount": 1000},
		{"code": "taken"},
		{"customer": 9},
		{"amount": "x"},
		{"note": "raise"},
		{"note": "case"},
		{"note": "zero"},
		{"customer": "99999999999"},
	} {
		const n = 1000
		l := log{next: int64(i * n)}
		at := (i*379 + 1) % n
		records := make([]*versioning.Record, n)
		want := repeat("applied", n)
		for j := range records {
			records[j] = l.say(fmt.Sprint(i, "-", j), "placed")
		}
		records[at].Changes[0].Set = set
		want[at] = "rejected constraint"
		prepare(store, records)
		var result versioning.Result
		statements, _ := tr.counted(func() {
			var err error
			if result, err = store.Apply(t.Context(), "", records); err != nil {
				t.Fatalf("%v: %v", set, err)
			}
		})
		wantVerdicts(t, result, want...)
		if statements > 310 {
			t.Errorf("%v: %d statements", set, statements)
		}
		wantRows(t, pool, fmt.Sprintf(`SELECT count(*)::text FROM orders WHERE id LIKE '%d-%%'`, i), fmt.Sprint(n-1))
		if i == 0 {
			t.Logf("%d statements for %d records with one bad one", statements, n)
		}
		wantVerdicts(t, apply(t, store, records[at]), "rejected constraint") // redelivered
	}
	wantRows(t, pool, `SELECT count(*) || ' ' || count(DISTINCT entity) FROM pawl.dead_letters WHERE reason = 'constraint'`, "8 8")
}

// TestLargeBatch checks that records that are together too large for one transaction
// are settled in several.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	records := make([]*versioning.Record, 10)
	for i := range records {
		records[i] = l.record()
		records[i].Value, records[i].Err = make([]byte, 8<<20), errors.New("not decoded")
	}
	_, trips := tr.counted(func() {
		wantVerdicts(t, apply(t, store, records...), repeat("rejected undecodable", len(records))...)
	})
	if trips <= 2 {
		t.Errorf("%d round trips: one transaction for 80 MiB", trips)
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.dead_letters`, "10")
}

// TestTooLarge checks the size limits of a record: a record above a limit changes
// nothing and is stored completely.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	long, wide, many := l.say("a", "placed"), l.set("b", "placed", versioning.Columns{"note": strings.Repeat("x", 17<<20)}), l.record()
	long.Value = make([]byte, 17<<20)
	for i := range 1001 {
		many.Changes = append(many.Changes, versioning.Change{Key: key(i), Event: "placed"})
	}
	enough := l.record(many.Changes[:1000]...)
	wantVerdicts(t, apply(t, store, long, wide, many, enough), "rejected too_large", "rejected too_large", "rejected too_large", "applied")
	wantRows(t, pool, `SELECT count(*)::text FROM orders`, "1000")
	wantRows(t, pool, `SELECT octet_length(value)::text FROM pawl.dead_letters WHERE "offset" = 0`, fmt.Sprint(17<<20))
}

// TestStatementTimeout checks that a batch that takes longer than the role's
// statement_timeout is settled in parts.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["statement_timeout"] = "500ms" })
	mustExec(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()`)
	var l log
	var records []*versioning.Record
	for i := range 12 {
		records = append(records, l.say(key(i), "placed"))
	}
	wantVerdicts(t, apply(t, store, records...), repeat("applied", len(records))...)

	// A single record can't be split further: it may succeed later.
	mustExec(t, pool, `ALTER FUNCTION slow() RENAME TO gone;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END';
CREATE OR REPLACE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()`)
	records = []*versioning.Record{l.say(key(0), "captured"), l.say("late", "placed")}
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if len(result.Outcomes) != 1 || versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("Apply = %v, %v; want one verdict, and an error of infrastructure", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
}

// TestPoisonAmongParked checks that a parked record that PostgreSQL refuses is rejected
// alone: neither the record that released it nor others are.
func TestPoisonAmongParked(t *testing.T) {
	t.Parallel()
	for _, batches := range []int{1, 2} {
		t.Run(fmt.Sprint(batches), func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			var l log
			records := []*versioning.Record{
				l.set("a", "captured", versioning.Columns{"amount": 5000}),
				l.set("a", "noted", versioning.Columns{"note": "kept"}),
				l.say("a", "captured"),
				l.say("b", "placed"),
				l.say("a", "placed"),
				l.say("b", "captured"),
			}
			var released []string
			if batches == 1 {
				wantVerdicts(t, apply(t, store, records...),
					"rejected constraint", "applied", "applied", "applied", "applied", "applied")
			} else {
				wantVerdicts(t, apply(t, store, records[:3]...), "early no_entity", "early no_entity", "early no_entity")
				result := apply(t, store, records[3:]...)
				wantVerdicts(t, result, "applied", "applied", "applied")
				for _, s := range result.Released {
					released = append(released, fmt.Sprint(s.Record.Origin.Offset, " ", s.Outcome.Verdict))
				}
				if got := strings.Join(released, ", "); got != "0 rejected, 1 applied, 2 applied" {
					t.Errorf("released %s", got)
				}
			}
			wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`, "(a,paid,3,kept,,)", "(b,paid,2,,,)")
			wantRows(t, pool, `SELECT "offset" || ' ' || reason FROM pawl.dead_letters`, "0 constraint")
			wantRows(t, pool, `SELECT entity FROM pawl.parked`)
			wantVerdicts(t, apply(t, store, records...),
				"rejected constraint", "duplicate", "duplicate", "duplicate", "duplicate", "duplicate")
		})
	}
}

// TestPoisonInAChain checks that the records released by the records around a refused
// one are judged again, even if they were parked before them.
func TestPoisonInAChain(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.say("a", "shipped"), l.set("a", "captured", versioning.Columns{"amount": 5000}), l.say("a", "captured"))
	wantVerdicts(t, apply(t, store, l.say("a", "placed")), "applied")
	wantRows(t, pool, `SELECT t::text FROM orders AS t`, "(a,shipped,3,,,)")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
}

// TestMuchIsParked checks that a batch is settled in parts if the records parked for
// its entities are too large for memory at once.
func TestMuchIsParked(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	trips := make(map[int]int)
	for _, size := range []int{1, 12 << 20} {
		var placed []*versioning.Record
		for i := range 3 {
			r := l.say(fmt.Sprint(size, i), "captured")
			r.Value = make([]byte, size)
			apply(t, store, r)
			placed = append(placed, l.say(fmt.Sprint(size, i), "placed"))
		}
		_, trips[size] = tr.counted(func() { wantVerdicts(t, apply(t, hooked, placed...), repeat("applied", 3)...) })
	}
	if trips[12<<20] <= trips[1] {
		t.Errorf("%v round trips by size of the parked records: the large ones were read at once", trips)
	}
	wantRows(t, pool, `SELECT DISTINCT state FROM orders`, "paid")
}

// TestPoisonForADuplicate covers a refused parked record whose waking record was
// applied before, by a worker that did not see the parked record.
func TestPoisonForADuplicate(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	placed := l.say("a", "placed")
	tr.before(first(1, func() { apply(t, store, placed) }))
	wantVerdicts(t, apply(t, hooked, l.set("a", "captured", versioning.Columns{"amount": 5000})), "early no_entity")
	result := apply(t, store, placed)
	wantVerdicts(t, result, "duplicate")
	if len(result.Released) != 1 {
		t.Errorf("released %v", result.Released)
	}
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, "constraint")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
}

// TestRefusalIsOfOneAttempt checks that trouble while a refused record is made a dead
// letter leaves the record unsettled.
func TestRefusalIsOfOneAttempt(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	mustExec(t, pool, `ALTER TABLE pawl.dead_letters RENAME TO away`)
	var l log
	r := l.set("a", "placed", versioning.Columns{"amount": 500})
	prepare(store, []*versioning.Record{r})
	mustExec(t, pool, `ALTER TABLE pawl.away RENAME TO dead_letters; ALTER TABLE orders ADD CONSTRAINT small CHECK (amount < 100)`)
	n := 0
	tr.before(func(_ context.Context, conn *pgx.Conn) {
		if n++; n == 2 { // the write of the dead letter
			mustExec(t, pool, `SELECT pg_terminate_backend($1, 5000)`, conn.PgConn().PID())
		}
	})
	if _, err := hooked.Apply(t.Context(), "", []*versioning.Record{r}); versioning.CauseOf(err) != versioning.Infrastructure {
		t.Fatalf("Apply: %v after %d writes, want an error of infrastructure", err, n)
	}
	mustExec(t, pool, `ALTER TABLE orders DROP CONSTRAINT small`)
	wantVerdicts(t, apply(t, store, r), "applied")
}

// TestParkedBecomesUndecodable checks that a parked record that is redelivered and
// can't be decoded is not both parked and a dead letter.
func TestParkedBecomesUndecodable(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	parked := l.say("a", "captured")
	apply(t, store, parked)
	bad := &versioning.Record{Origin: parked.Origin, Err: context.DeadlineExceeded}
	wantVerdicts(t, apply(t, store, bad), "rejected undecodable")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
	result := apply(t, store, l.say("a", "placed"))
	wantVerdicts(t, result, "applied")
	wantRows(t, pool, `SELECT t::text FROM orders AS t`, "(a,pending,1,,,)")
}

// TestParkedColumnDropped checks that a parked record that sets a dropped column is
// rejected when it is judged again.
func TestParkedColumnDropped(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	apply(t, store, l.record(
		versioning.Change{Key: "a", Event: "captured", Set: versioning.Columns{"note": "x"}},
		versioning.Change{Key: "b", Event: "placed"},
	))
	mustExec(t, pool, `ALTER TABLE orders DROP note`)
	store = open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	result := apply(t, store, l.say("a", "placed"))
	wantVerdicts(t, result, "applied")
	if len(result.Released) != 1 || result.Released[0].Outcome.Reason != versioning.ReasonInvalidColumn {
		t.Errorf("released %+v, want one invalid_column", result.Released)
	}
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, "invalid_column")
	wantRows(t, pool, `SELECT id FROM orders`, "a")
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	far := time.FixedZone("", 14*3600)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "0001-01-01 00:00:00"},
		{time.UnixMilli(-1), "1969-12-31 23:59:59.999"},
		{time.UnixMilli(1<<63 - 1), "9999-12-31 00:00:00"},
		{time.UnixMilli(-1 << 63), "0001-01-01 00:00:00"},
		{time.Date(1, 1, 1, 0, 0, 0, 0, far), "0001-01-01 00:00:00"},
		{time.UnixMilli(1_700_000_000_123).In(far), "2023-11-14 22:13:20.123"},
	} {
		for _, event := range []statemachine.Event{"nosuch", "captured"} {
			r := l.say("a", event)
			r.Timestamp = c.at
			apply(t, store, r)
		}
		const of = `SELECT (timestamp AT TIME ZONE 'UTC')::text FROM pawl.`
		wantRows(t, pool, of+`dead_letters ORDER BY id DESC LIMIT 1`, c.want)
		wantRows(t, pool, of+`parked ORDER BY seq DESC LIMIT 1`, c.want)
	}
}
