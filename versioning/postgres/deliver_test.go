package postgres_test

import (
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func mustDeliver(t *testing.T, store *postgres.Store, want string, changes ...versioning.Change) {
	t.Helper()
	outcome, err := store.Deliver(t.Context(), changes...)
	if err != nil {
		t.Fatal(err)
	}
	if got := verdicts([]versioning.Outcome{outcome})[0]; got != want {
		t.Errorf("%v: %s (%s), want %s", changes, got, outcome.Detail, want)
	}
}

// redriveAll redrives all dead letters. They must not be decoded: no topic has them.
func redriveAll(t *testing.T, store *postgres.Store, want ...string) {
	t.Helper()
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	decode := func(r *versioning.Record) ([]versioning.Change, error) {
		t.Errorf("%v is decoded", r.Origin)
		return nil, nil
	}
	dry, err := store.DryRedrive(t.Context(), letters, decode)
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := store.Redrive(t.Context(), letters, decode)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][]versioning.Outcome{dry, outcomes} {
		wantVerdicts(t, versioning.Result{Outcomes: got}, want...)
	}
}

// What can't be made is kept once, however often it is delivered.
func TestDeliver(t *testing.T) {
	t.Parallel()
	type columns = versioning.Columns
	pool, store := openOrders(t)
	early := toChange("a", "captured", "1", columns{"note": "paid"})
	taken := toChange("b", "noted", "2", columns{"amount": 7})
	for range 2 {
		mustDeliver(t, store, "early no_entity", early)
		mustDeliver(t, store, "rejected constraint", toChange("b", "placed", "1", columns{"amount": 5000}))
		mustDeliver(t, store, "rejected invalid_column", toChange("c", "placed", "1", columns{"extra": 1}))
		mustDeliver(t, store, "rejected unknown_machine", versioning.Change{Machine: "nosuch", Key: "a", Event: "placed", MessageID: "1"})
	}
	wantRows(t, pool, keptSQL, "parked a no_entity", "dead b constraint", "dead c invalid_column", "dead a unknown_machine")
	mustDo(t, store, "applied", toChange("a", "placed", "0", nil)) // releases the first
	mustDeliver(t, store, "duplicate", early)
	redriveAll(t, store, "rejected constraint", "rejected invalid_column", "rejected unknown_machine")

	mustExec(t, pool, `ALTER TABLE orders DROP CONSTRAINT orders_amount_check; ALTER TABLE orders ADD extra int`)
	redriveAll(t, store, "applied", "applied", "rejected unknown_machine")
	mustDeliver(t, store, "duplicate", toChange("b", "placed", "1", columns{"amount": 5000}))
	mustDeliver(t, store, "duplicate", toChange("c", "placed", "1", columns{"extra": 1}))
	mustDeliver(t, store, "applied", taken)
	taken.Set = columns{"amount": 8}
	for range 2 {
		mustDeliver(t, store, "diverged message_taken", taken)
	}
	for range 2 { // nothing identifies these, so each is another one
		mustDeliver(t, store, "rejected illegal", toChange("b", "placed", "", nil))
	}
	wantRows(t, pool, keptSQL, "dead a unknown_machine", "dead b message_taken", "dead b illegal", "dead b illegal")
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version || ' ' || coalesce(note, '') || ' ' || coalesce(amount, 0) || ' ' || coalesce(extra, 0) FROM orders ORDER BY id`,
		"a paid 2 paid 0 0", "b pending 2  7 0", "c pending 1  0 1")
	wantRows(t, pool, `SELECT DISTINCT topic FROM pawl.transitions ORDER BY 1`, "", versioning.DeliveryTopic)
}

// keptSQL lists what is parked, and then the dead letters.
const keptSQL = `
SELECT text FROM (
	SELECT 1 AS kind, seq AS n, 'parked ' || entity || ' ' || reason FROM pawl.parked
	UNION ALL SELECT 2, id, 'dead ' || entity || ' ' || reason FROM pawl.dead_letters) AS all_of_them(kind, n, text)
ORDER BY kind, n`

type fullRow struct {
	Total int64 `db:"total"`
}

type fullData struct {
	Amount int64
	At     time.Time
	Names  map[string][]byte
}

// All kinds of columns and data come through a dead letter and back unchanged, so that the
// same changes are a duplicate afterwards.
func TestDeliveredValues(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE full_rows (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, total bigint NOT NULL CHECK (total < 10),
	at timestamptz, day date, raw bytea, list int[], doc jsonb, price numeric, gone text DEFAULT 'set')`)
	var seen []fullData
	machine := statemachine.MustCompile(statemachine.Definition{Name: "full", Version: 1, Transitions: []statemachine.Transition{{
		Event: "made", To: "there",
		Do: statemachine.Do(func(_ *statemachine.Firing, row *fullRow, d fullData) error {
			row.Total = d.Amount
			seen = append(seen, d)
			return nil
		}),
	}}, Terminal: statemachine.In("there")})
	store := open(t, pool, postgres.Table{Machine: machine, Name: "full_rows"})
	at := time.Date(2025, 3, 30, 1, 30, 0, 123456000, time.FixedZone("", 7200))
	change := func() versioning.Change {
		return versioning.Change{
			Key: "a", Event: "made", MessageID: "1",
			Set:  versioning.Columns{"at": at, "day": at, "raw": []byte{0, 255}, "list": []int{1, 2}, "doc": map[string]any{"<": 1.5}, "price": 1.50, "gone": nil},
			Data: fullData{Amount: 1<<53 + 1, At: at, Names: map[string][]byte{"é": {0}, "": nil}},
		}
	}
	mustDeliver(t, store, "rejected constraint", change())
	mustExec(t, pool, `ALTER TABLE full_rows DROP CONSTRAINT full_rows_total_check`)
	redriveAll(t, store, "applied")
	mustDeliver(t, store, "duplicate", change())
	mustDo(t, store, "duplicate", change())
	wantRows(t, pool, `SELECT concat_ws(' ', total, extract(epoch FROM at), day, encode(raw, 'hex'), list, doc, price, gone IS NULL) FROM full_rows`,
		"9007199254740993 1743291000.123456 2025-03-30 00ff {1,2} {\"<\": 1.5} 1.5 t")
	for _, d := range seen {
		if names := d.Names; !d.At.Equal(at) || len(names) != 2 || len(names["é"]) != 1 {
			t.Errorf("the action got %+v", d)
		}
	}
}

// Data of the wrong type is kept as well as JSON can. What JSON would change is not kept.
func TestDeliveredNonsense(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE visits (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, at timestamptz NOT NULL)`)
	machine := statemachine.MustCompile(statemachine.Definition{Name: "visit", Version: 1, Transitions: []statemachine.Transition{{
		Event: "came", To: "here",
		Do: statemachine.Do(func(_ *statemachine.Firing, row *visit, d fullData) error {
			row.At = d.At
			return nil
		}),
	}}, Terminal: statemachine.In("here")})
	store := open(t, pool, postgres.Table{Machine: machine, Name: "visits"})
	came := versioning.Change{Machine: "visit", Key: "a", Event: "came", MessageID: "1"}
	for i, data := range []any{nil, "2025", func() {}, make(chan int), struct{ At string }{"2025-01-01T00:00:00Z"}} {
		c := came
		c.MessageID, c.Data = key(i), data
		mustDeliver(t, store, "rejected invalid_data", c)
	}
	invalid := came
	invalid.Key = "a\xff"
	mustDeliver(t, store, "rejected invalid_key", invalid)
	redriveAll(t, store, "rejected invalid_data", "rejected invalid_data", "rejected invalid_data", "rejected invalid_data", "applied", "rejected undecodable")
	wantRows(t, pool, `SELECT id || ' ' || extract(year FROM at) FROM visits`, "a 2025")
}
