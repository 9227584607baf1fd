package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// spend takes from a limit that the table's default sets.
func spend(_ *statemachine.Firing, row *struct {
	Used  int64 `db:"used"`
	Limit int64 `db:"most"`
}, n int64,
) error {
	if row.Used+n > row.Limit {
		return errors.New("too much")
	}
	row.Used += n
	return nil
}

// TestDefaults checks that functions see the defaults of a row that a transition without an
// action has created, in the same batch too, and do not overwrite them.
func TestDefaults(t *testing.T) {
	t.Parallel()
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"},
			{Event: "did", From: statemachine.In("open"), To: "open", Do: statemachine.Do(spend)},
			{Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	pool, store := openThings(t, `, used bigint NOT NULL DEFAULT 0, most bigint NOT NULL DEFAULT 10`, postgres.Table{Machine: m})
	var l log
	result := apply(t, store, l.did("a", "did", 1), l.did("a", "made", 0), l.did("a", "did", 4), l.did("a", "did", 5), l.did("a", "did", 1))
	wantVerdicts(t, result, "applied", "applied", "applied", "applied", "rejected refused")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,open,4,10,10)")
}

// TestFromConstantsToFunctions upgrades a machine: records that its older version has parked
// set a column that functions compute now.
func TestFromConstantsToFunctions(t *testing.T) {
	t.Parallel()
	old := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"},
			{Event: "did", From: statemachine.In("open"), To: "open"},
			{Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	pool, store := openThings(t, `, balance bigint NOT NULL DEFAULT 0`, postgres.Table{Machine: old})
	var l log
	early := l.record(versioning.Change{Machine: "thing", Key: "a", Event: "did", Set: versioning.Columns{"balance": 500}})
	wantVerdicts(t, apply(t, store, early), "early no_entity")
	definition := machineOf(add).Definition()
	definition.Version = 2
	newer := open(t, pool, postgres.Table{Machine: statemachine.MustCompile(definition), Name: "thing"})
	result := apply(t, newer, l.did("a", "made", 7))
	wantVerdicts(t, result, "applied")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,open,1,7)")
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, "invalid_column")
}

// TestTriggerOnAnotherEntity checks that a batch is settled although a trigger of one row
// writes another row with which functions have computed.
func TestTriggerOnAnotherEntity(t *testing.T) {
	t.Parallel()
	pool, store := openThings(t, `, balance bigint NOT NULL, note int NOT NULL DEFAULT 0`, postgres.Table{Machine: machineOf(add)})
	var l log
	apply(t, store, l.did("a", "made", 1), l.did("b", "made", 1))
	mustExec(t, pool, `CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	UPDATE thing SET note = note + 1 WHERE id = 'b' AND new.id = 'a'; RETURN NULL; END $$;
CREATE TRIGGER touch AFTER UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION touch()`)
	records := []*versioning.Record{l.did("a", "did", 1), l.did("b", "did", 1), l.did("a", "did", 1), l.did("b", "did", 1)}
	prepare(store, records)
	outcomes, err := untilSettled(t.Context(), store, records)
	if err != nil {
		t.Fatal(err)
	}
	wantVerdicts(t, versioning.Result{Outcomes: outcomes}, "applied", "applied", "applied", "applied")
	wantRows(t, pool, `SELECT t::text FROM thing AS t ORDER BY id`, "(a,open,3,3,0)", "(b,open,3,3,2)")
}

// explosive panics when it is decoded.
type explosive struct{ Amount int64 }

func (*explosive) UnmarshalJSON([]byte) error  { panic(errBug) }
func (explosive) MarshalJSON() ([]byte, error) { panic(errBug) }

// TestPanicInData checks that methods of the data that panic reject only their record.
func TestPanicInData(t *testing.T) {
	t.Parallel()
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "ended", Do: statemachine.Do(func(*statemachine.Firing, *struct{}, explosive) error { return nil })},
			{Event: "seen", To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	_, store := openThings(t, ``, postgres.Table{Machine: m})
	var l log
	made := func(key string, data any) *versioning.Record {
		return l.record(versioning.Change{Machine: "thing", Key: key, Event: "made", Data: data})
	}
	result := apply(t, store, made("a", json.RawMessage(`{}`)), made("b", explosive{}), l.record(versioning.Change{Machine: "thing", Key: "c", Event: "seen"}))
	wantVerdicts(t, result, "rejected invalid_data", "rejected invalid_data", "applied")
	if detail := result.Outcomes[0].Detail; !strings.Contains(detail, "panicked: a bug") {
		t.Errorf("detail %q", detail)
	}
}

// TestNoDataAtAll checks that an event without data is the same message however that is said.
func TestNoDataAtAll(t *testing.T) {
	t.Parallel()
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "ended", Do: statemachine.Do(func(*statemachine.Firing, *struct{}, struct{}) error { return nil })},
		},
		Terminal: statemachine.In("ended"),
	})
	_, store := openThings(t, ``, postgres.Table{Machine: m})
	var l log
	var records []*versioning.Record
	for _, data := range []any{nil, struct{}{}, json.RawMessage(`{}`)} {
		records = append(records, l.record(versioning.Change{Machine: "thing", Key: "a", Event: "made", MessageID: "m", Data: data}))
	}
	wantVerdicts(t, apply(t, store, records...), "applied", "duplicate", "duplicate")
}

// TestNilField checks that the message about a field that an action has left nil says so.
func TestNilField(t *testing.T) {
	t.Parallel()
	m := machineOf(func(*statemachine.Firing, *struct {
		Tags []string `db:"tags"`
	}, int64,
	) error {
		return nil
	})
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, tags text[] NOT NULL DEFAULT '{}')`)
	store := open(t, pool, postgres.Table{Machine: m, Name: "thing"})
	var l log
	result := apply(t, store, l.did("a", "made", 1))
	wantVerdicts(t, result, "rejected constraint")
	if detail := result.Outcomes[0].Detail; !strings.Contains(detail, "left the field of column tags nil") {
		t.Errorf("detail %q", detail)
	}
}

// TestNoAction checks what is said about a row that a transition without an action creates, and
// that lacks a value: there is no action that could have left a field nil, but a DEFAULT helps.
func TestNoAction(t *testing.T) {
	t.Parallel()
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"},
			{Event: "did", From: statemachine.In("open"), To: "open", Do: statemachine.Do(spend)},
			{Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
	_, store := openThings(t, `, used bigint NOT NULL, most bigint NOT NULL DEFAULT 10`, postgres.Table{Machine: m})
	var l log
	result := apply(t, store, l.did("a", "made", 0))
	wantVerdicts(t, result, "rejected constraint")
	const want = "if it has none, give the column a DEFAULT"
	if detail := result.Outcomes[0].Detail; !strings.Contains(detail, want) {
		t.Errorf("the detail %q does not say %q", detail, want)
	}
}

// TestCrashBeforeReadBack ends a worker after the transaction of a record has committed, and
// before the one that judges what was parked for its entity, whose row has to be read again.
// The record counts as settled, and what was parked comes before the next record.
func TestCrashBeforeReadBack(t *testing.T) {
	t.Parallel()
	m := machineOf(add)
	pool, store := openThings(t, `, balance bigint NOT NULL`, postgres.Table{Machine: m})
	mustExec(t, pool, `CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.balance := 2 * NEW.balance; RETURN NEW; END $$;
CREATE TRIGGER twice BEFORE INSERT OR UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION twice()`)
	hooked, tr := tracedTable(t, pool, postgres.Table{Machine: m, Name: "thing"})
	var l log
	wantVerdicts(t, apply(t, store, l.did("a", "did", 5)), "early no_entity")

	ctx, crash := context.WithCancel(t.Context())
	transactions := 0
	tr.before(func(context.Context, *pgx.Conn) {
		if transactions++; transactions == 2 {
			crash()
		}
	})
	records := []*versioning.Record{l.did("a", "made", 1), l.did("a", "did", 1)}
	prepare(hooked, records)
	result, err := hooked.Apply(ctx, "", records)
	if err == nil || transactions < 2 {
		t.Fatalf("%d transactions, %v", transactions, err)
	}
	wantVerdicts(t, result, "applied")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,open,1,2)")

	// The record after it is delivered again, with the first one.
	wantVerdicts(t, apply(t, store, records...), "duplicate", "applied")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,open,3,30)") // ((1 * 2 + 5) * 2 + 1) * 2
	wantRows(t, pool, `SELECT "offset"::text FROM pawl.transitions ORDER BY version`, "1", "0", "2")
}

// TestReadBackIsLinear settles batches with an entity whose row has to be read back after
// every fifth record. What that costs must not grow with the square of the batch.
func TestReadBackIsLinear(t *testing.T) {
	t.Parallel()
	pool, _ := openFees(t)
	store, tr := tracedTable(t, pool, postgres.Table{Machine: machineOf(add), Name: "thing"})
	var l log
	apply(t, store, l.did("hot", "made", 0))
	perRecord := func(n int) float64 {
		records := make([]*versioning.Record, n)
		for i := range records {
			records[i] = l.did(fmt.Sprintf("%d of %d", i, n), "made", 1)
			if i%5 == 0 {
				records[i] = l.did("hot", "did", 2)
			}
		}
		before := tr.elements
		for i, o := range apply(t, store, records...).Outcomes {
			if o.Verdict != versioning.Applied {
				t.Fatalf("record %d of %d is %v", i, n, o)
			}
		}
		return float64(tr.elements-before) / float64(n)
	}
	few, many := perRecord(50), perRecord(400)
	if many > 1.5*few {
		t.Errorf("%.0f parameters for each of 400 records, %.0f for each of 50", many, few)
	}
	wantRows(t, pool, `SELECT balance::text FROM thing WHERE id = 'hot'`, "90")
}

// TestCascadeWithinTheRow has a foreign key by which a row references itself. If the row changes
// the referenced column, PostgreSQL changes the referencing one too, and the next function must
// see that.
func TestCascadeWithinTheRow(t *testing.T) {
	t.Parallel()
	type link struct {
		X    *int64 `db:"x"`
		Y    *int64 `db:"y"`
		Seen *int64 `db:"seen"`
	}
	m := machineOf(func(_ *statemachine.Firing, row *link, n int64) error {
		row.Seen = row.Y
		if row.Y != nil { // it was changed before
			return nil
		}
		if row.X != nil {
			row.Y = new(*row.X)
		}
		row.X = &n
		return nil
	})
	pool, store := openThings(t, `, x bigint UNIQUE, y bigint REFERENCES thing (x) ON UPDATE CASCADE, seen bigint`, postgres.Table{Machine: m})
	var l log
	wantVerdicts(t, apply(t, store, l.did("a", "made", 1), l.did("a", "did", 2), l.did("a", "did", 3)), "applied", "applied", "applied")
	wantRows(t, pool, `SELECT concat_ws(' ', version, x, y, seen) FROM thing`, "3 2 2 2")
}
