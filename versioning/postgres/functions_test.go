package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// machineOf returns a machine with one state, in which the event "did" calls an action.
func machineOf[R any](do func(f *statemachine.Firing, row *R, e int64) error) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open", Do: statemachine.Do(do)},
			{Event: "did", From: statemachine.In("open"), To: "open", Do: statemachine.Do(do)},
			{Event: "ended", From: statemachine.In("open"), To: "ended"},
		},
		Terminal: statemachine.In("ended"),
	})
}

// openThings opens a store on a table thing with the given columns.
func openThings(t *testing.T, columns string, table postgres.Table) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL`+columns+`)`)
	table.Name = "thing"
	return pool, open(t, pool, table)
}

// did returns a record for an event of a thing.
func (l *log) did(key string, event statemachine.Event, n int64) *versioning.Record {
	return l.record(versioning.Change{Machine: "thing", Key: key, Event: event, Data: n})
}

type account struct {
	Balance int64 `db:"balance"`
}

func add(_ *statemachine.Firing, row *account, n int64) error {
	if row.Balance+n < 0 {
		return fmt.Errorf("it has %d", row.Balance)
	}
	row.Balance += n
	return nil
}

// TestForeignWrites lets somebody else write a row between reading and writing, without
// a word to the framework: no write may be lost, on either side.
func TestForeignWrites(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want, row string }{
		"another column":   {`UPDATE thing SET note = 'seen'`, "applied", "(a,open,2,15,seen)"},
		"the same column":  {`UPDATE thing SET balance = balance + 100`, "applied", "(a,open,2,115,)"},
		"too little left":  {`UPDATE thing SET balance = 1`, "rejected refused", "(a,open,1,1,)"},
		"the same value":   {`UPDATE thing SET balance = balance`, "applied", "(a,open,2,15,)"},
		"twice":            {`UPDATE thing SET balance = 1; UPDATE thing SET balance = 10, note = 'seen'`, "applied", "(a,open,2,15,seen)"},
		"deleted and made": {`DELETE FROM thing; INSERT INTO thing VALUES ('a', 'open', 1, 20, 'new')`, "applied", "(a,open,2,25,new)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machineOf(func(f *statemachine.Firing, row *account, n int64) error {
				if f.Event == "did" && row.Balance < 2 {
					return errors.New("too little")
				}
				return add(f, row, n)
			})
			pool, store := openThings(t, `, balance bigint NOT NULL, note text`, postgres.Table{Machine: m})
			hooked, tr := tracedTable(t, pool, postgres.Table{Machine: m, Name: "thing"})
			var l log
			wantVerdicts(t, apply(t, store, l.did("a", "made", 10)), "applied")
			tr.before(first(1, func() { mustExec(t, pool, c.sql) }))
			wantVerdicts(t, apply(t, hooked, l.did("a", "did", 5)), c.want)
			wantRows(t, pool, `SELECT t::text FROM thing AS t`, c.row)
		})
	}
}

// TestForeignWritesGoOn has another application write other columns of the same rows all
// along, without transactions or locks of its own: neither side loses a write.
func TestForeignWritesGoOn(t *testing.T) {
	t.Parallel()
	m := machineOf(add)
	pool, store := openThings(t, `, balance bigint NOT NULL, seen bigint NOT NULL DEFAULT 0`, postgres.Table{Machine: m})
	var l log
	for i := range 4 {
		apply(t, store, l.did(key(i), "made", 0))
	}
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := pool.Exec(t.Context(), `UPDATE thing SET seen = seen + 1 WHERE id = $1`, key(n%4)); err != nil {
				t.Error(err)
			}
		}
		written <- n
	}()
	applied := 0
	for range 40 {
		var records []*versioning.Record
		for i := range 20 {
			records = append(records, l.did(key(i%4), "did", 1))
		}
		prepare(store, records)
		outcomes, err := untilSettled(t.Context(), store, records)
		if err != nil {
			t.Fatal(err)
		}
		applied += len(outcomes)
	}
	stop()
	wantRows(t, pool, `SELECT sum(balance) || ' ' || sum(seen) FROM thing`, fmt.Sprint(applied, " ", <-written))
}

// TestPartitionedRows checks that the guard of a row works in a partitioned table.
func TestPartitionedRows(t *testing.T) {
	t.Parallel()
	m := machineOf(add)
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, balance bigint NOT NULL, note text) PARTITION BY HASH (id);
CREATE TABLE thing_0 PARTITION OF thing FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE thing_1 PARTITION OF thing FOR VALUES WITH (MODULUS 2, REMAINDER 1)`)
	table := postgres.Table{Machine: m, Name: "thing"}
	store := open(t, pool, table)
	hooked, tr := tracedTable(t, pool, table)
	var l log
	for i := range 8 {
		apply(t, store, l.did(key(i), "made", 10))
	}
	tr.before(first(1, func() { mustExec(t, pool, `UPDATE thing SET note = 'seen', balance = balance * 2`) }))
	var records []*versioning.Record
	for i := range 8 {
		records = append(records, l.did(key(i), "did", 1), l.did(key(i), "did", 1))
	}
	wantVerdicts(t, apply(t, hooked, records...), repeat("applied", 16)...)
	wantRows(t, pool, `SELECT DISTINCT balance || note || version FROM thing`, "22seen3")
}

type wide struct {
	Small    int16             `db:"small"`
	Plain    int32             `db:"plain"`
	Big      int64             `db:"big"`
	Exact    pgtype.Numeric    `db:"exact"`
	Price    pgtype.Numeric    `db:"price"`
	Yes      bool              `db:"yes"`
	Name     string            `db:"name"`
	Short    string            `db:"short"`
	Mood     string            `db:"mood"`
	ID       string            `db:"uid"`
	Raw      [16]byte          `db:"uid_raw"`
	At       time.Time         `db:"at"`
	Coarse   time.Time         `db:"coarse"`
	Day      time.Time         `db:"day"`
	Span     pgtype.Interval   `db:"span"`
	Bytes    []byte            `db:"bytes"`
	Doc      map[string]string `db:"doc"`
	Text     json.RawMessage   `db:"doc_text"`
	Tags     []string          `db:"tags"`
	Numbers  []int64           `db:"numbers"`
	Maybe    *string           `db:"maybe"`
	MaybeNot *int64            `db:"maybe_not"`
	Limited  int32             `db:"limited"`
	Ratio    float64           `db:"ratio"`
}

const wideColumns = `, small smallint NOT NULL, plain integer NOT NULL, big bigint NOT NULL, exact numeric NOT NULL, price numeric(10,2) NOT NULL,
	yes boolean NOT NULL, name text NOT NULL, short varchar(3) NOT NULL, "mood" mood NOT NULL, uid uuid NOT NULL, uid_raw uuid NOT NULL,
	at timestamptz NOT NULL, coarse timestamptz(1) NOT NULL, day date NOT NULL, span interval NOT NULL, bytes bytea NOT NULL, doc jsonb NOT NULL, doc_text json NOT NULL,
	tags text[] NOT NULL, numbers bigint[] NOT NULL, maybe text, maybe_not bigint, limited positive NOT NULL, ratio double precision NOT NULL`

// grow changes all columns of a wide row. What it makes of them depends on what they are,
// digit by digit, and it writes values that PostgreSQL rounds, cuts or rewrites.
func grow(f *statemachine.Firing, row *wide, n int64) error {
	if f.Event == "made" {
		row.Mood, row.Limited, row.ID = "ok", 1, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"
		row.At = time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
		row.Exact, row.Price, row.Span = numericOf("0"), numericOf("0"), pgtype.Interval{Valid: true}
		row.Doc, row.Bytes, row.Tags, row.Numbers = map[string]string{}, []byte{}, []string{}, []int64{}
		row.Text = json.RawMessage(`[ 1 ,2]`)
	}
	seen := fmt.Sprintf("%v %v %v %v %v %v", row.At.Nanosecond(), row.Coarse.Nanosecond(), textOf(row.Exact), textOf(row.Price), row.ID, len(row.Short))
	row.Small, row.Plain, row.Big = row.Small+1, row.Plain-1, row.Big+1<<53+1
	row.Exact, row.Price = numericOf(textOf(row.Exact)+"7"), numericOf(fmt.Sprintf("%d.%03d", n, f.Version*125))
	row.Yes, row.Name, row.Short = !row.Yes, seen, "ab   "
	row.Raw[0]++
	row.At = row.At.Add(time.Nanosecond * 600)
	row.Coarse, row.Day = row.At, row.At.AddDate(0, 0, int(n))
	row.Span.Days++
	row.Bytes = append(row.Bytes, 0, byte(n))
	row.Doc[fmt.Sprint("k", len(row.Doc))] = seen
	row.Tags, row.Numbers = append(row.Tags, seen, `a"\,{}`, ""), append(row.Numbers, n)
	if row.Maybe = nil; f.Version%2 == 0 {
		row.Maybe = new(seen)
	}
	row.Limited++
	row.Ratio = row.Ratio/3 + 0.1
	return nil
}

func numericOf(text string) (n pgtype.Numeric) {
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	if err := n.Scan(text); err != nil {
		panic(err)
	}
	return n
}

func textOf(n pgtype.Numeric) string {
	v, err := n.Value()
	if err != nil {
		panic(err)
	}
	return fmt.Sprint(v)
}

// TestWideRows checks that steps of one batch leave the same rows as the same steps in
// batches of one record, for all kinds of columns.
func TestWideRows(t *testing.T) {
	t.Parallel()
	m := machineOf(grow)
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL`+wideColumns+`)`)
	store := open(t, pool, postgres.Table{Machine: m, Name: "thing"})
	var l log
	var together []*versioning.Record
	for i, event := range []statemachine.Event{"made", "did", "did", "did", "did"} {
		wantVerdicts(t, apply(t, store, l.did("single", event, int64(i))), "applied")
		together = append(together, l.did("batch", event, int64(i)))
	}
	wantVerdicts(t, apply(t, store, together...), repeat("applied", 5)...)
	rows := query(t, pool, `SELECT to_jsonb(t) - 'id' || jsonb_build_object('doc_text', doc_text::text) FROM thing AS t ORDER BY id`)
	if len(rows) != 2 || rows[0] != rows[1] {
		t.Errorf("together\n%s\none by one\n%s", rows[0], rows[1])
	}
}

// TestTextRows checks columns of other types that a row has as strings.
func TestTextRows(t *testing.T) {
	t.Parallel()
	type row struct {
		N string  `db:"n"`
		U *string `db:"u"`
		J string  `db:"j"`
	}
	m := machineOf(func(f *statemachine.Firing, row *row, n int64) error {
		if f.Event == "did" && (!strings.HasPrefix(row.N, "1.50") || *row.U != "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" || row.J != `{"a": 1}`) {
			return fmt.Errorf("%s %s %s", row.N, *row.U, row.J)
		}
		row.N, row.U, row.J = "1.495"+strings.Repeat("0", int(f.Version)), new("A0EEBC999C0B4EF8BB6D6BB9BD380A11"), `{"a":1,"a":1}`
		return nil
	})
	pool, store := openThings(t, `, n numeric(9,2) NOT NULL, u uuid, j jsonb NOT NULL`, postgres.Table{Machine: m})
	var l log
	wantVerdicts(t, apply(t, store, l.did("a", "made", 1), l.did("a", "did", 1), l.did("a", "did", 1)), "applied", "applied", "applied")
	wantVerdicts(t, apply(t, store, l.did("a", "did", 1)), "applied")
	wantRows(t, pool, `SELECT detail FROM pawl.dead_letters`)
}

type computedRow struct {
	Total int64  `db:"total"`
	Twice int64  `db:"twice,readonly"`
	Seq   int64  `db:"seq,readonly"`
	Risk  *int64 `db:"risk,readonly"`
}

// TestReadOnlyColumns checks that functions see columns that only the database knows, as
// they are after each step.
func TestReadOnlyColumns(t *testing.T) {
	t.Parallel()
	m := machineOf(func(f *statemachine.Firing, row *computedRow, n int64) error {
		if want := 2 * row.Total; f.Event == "did" && (row.Twice != want || row.Seq == 0 || row.Risk == nil) {
			return fmt.Errorf("twice is %d at %d, seq %d, risk %v", row.Twice, row.Total, row.Seq, row.Risk)
		}
		row.Total += n
		row.Twice, row.Seq, row.Risk = -1, -1, nil // has no effect
		return nil
	})
	pool, store := openThings(t, `, total bigint NOT NULL, twice bigint NOT NULL GENERATED ALWAYS AS (2 * total) STORED,
		seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY, risk bigint DEFAULT 7`, postgres.Table{Machine: m})
	var l log
	records := []*versioning.Record{l.did("a", "did", 5), l.did("a", "made", 1), l.did("b", "made", 1), l.did("a", "did", 1), l.did("b", "did", 2), l.did("a", "did", 1)}
	prepare(store, records)
	outcomes, err := untilSettled(t.Context(), store, records)
	if err != nil || len(outcomes) != len(records) {
		t.Fatal(outcomes, err)
	}
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Fatal(err)
	}
	wantRows(t, pool, `SELECT id || ' ' || version || ' ' || total || ' ' || twice || ' ' || risk FROM thing ORDER BY id`, "a 4 8 16 7", "b 2 3 6 7")
	wantRows(t, pool, `SELECT detail FROM pawl.dead_letters`)
	// A parked record moves the entity before a record of the next batch, which is alone in it.
	mustExec(t, pool, `INSERT INTO thing (id, state, version, total) VALUES ('c', 'open', 1, 1)`)
	wantVerdicts(t, apply(t, store, l.record(versioning.Change{Machine: "thing", Key: "c", Event: "did", Data: int64(1), Expected: versioning.At(2)})), "early version_ahead")
	wantVerdicts(t, apply(t, store, l.did("c", "did", 1), l.did("c", "did", 1)), "applied", "applied")
	wantRows(t, pool, `SELECT version || ' ' || total FROM thing WHERE id = 'c'`, "4 4")

	twice := l.record(versioning.Change{Machine: "thing", Key: "a", Event: "did", Data: int64(1)}, versioning.Change{Machine: "thing", Key: "a", Event: "did", Data: int64(1)})
	wantVerdicts(t, apply(t, store, twice), "rejected invalid_data")
}

// openFees opens a store on a table thing with a trigger that takes 1 from the balance at
// each update, so its rows have to be read back.
func openFees(t *testing.T) (*pgxpool.Pool, *postgres.Store) {
	t.Helper()
	pool, store := openThings(t, `, balance bigint NOT NULL`, postgres.Table{Machine: machineOf(add)})
	mustExec(t, pool, `CREATE FUNCTION fee() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.balance := NEW.balance - 1; RETURN NEW; END $$;
CREATE TRIGGER fee BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION fee()`)
	return pool, store
}

// TestTriggerOnComputedColumn checks that functions see what a trigger makes of the row.
func TestTriggerOnComputedColumn(t *testing.T) {
	t.Parallel()
	pool, store := openFees(t)
	var l log
	records := []*versioning.Record{l.did("a", "made", 10), l.did("a", "did", 5), l.did("a", "did", 5), l.did("a", "did", -18), l.did("a", "did", -1)}
	prepare(store, records)
	outcomes, err := untilSettled(t.Context(), store, records)
	if err != nil {
		t.Fatal(err)
	}
	wantVerdicts(t, versioning.Result{Outcomes: outcomes}, "applied", "applied", "applied", "applied", "rejected refused")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,open,4,-1)")
}

// TestConstraintOnComputedColumn checks that a row that the database refuses is found, and
// that what comes after it is computed without it.
func TestConstraintOnComputedColumn(t *testing.T) {
	t.Parallel()
	m := machineOf(add)
	pool, store := openThings(t, `, balance bigint NOT NULL CHECK (balance <> 7)`, postgres.Table{Machine: m})
	var l log
	var records []*versioning.Record
	for i := range 30 {
		records = append(records, l.did(key(i), "made", 5))
	}
	for i := range 30 {
		records = append(records, l.did(key(i), "did", int64(1+i%2)), l.did(key(i), "did", 4)) // 5+2 is refused
	}
	result := apply(t, store, records...)
	var want []string
	want = append(want, repeat("applied", 30)...)
	for i := range 30 {
		want = append(want, []string{"applied", "rejected constraint"}[i%2], "applied")
	}
	wantVerdicts(t, result, want...)
	wantRows(t, pool, `SELECT balance || ' ' || count(*) FROM thing GROUP BY balance ORDER BY balance`, "9 15", "10 15")
}

// TestParkedData checks that the data of a parked record comes back as it was.
func TestParkedData(t *testing.T) {
	t.Parallel()
	type rich struct {
		N     int64
		Frac  float64
		At    time.Time
		Nil   []string
		Empty []string
		Bytes []byte
		Odd   string
		Map   map[string]*int64
	}
	var got rich
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "open"},
			{Event: "did", From: statemachine.In("open"), To: "ended", Do: statemachine.Do(func(_ *statemachine.Firing, _ *struct{}, e rich) error {
				got = e
				return nil
			})},
		},
		Terminal: statemachine.In("ended"),
	})
	_, store := openThings(t, ``, postgres.Table{Machine: m})
	sent := rich{
		N: 1<<63 - 1, Frac: 0.1, At: time.Date(2024, 1, 2, 3, 4, 5, 678901234, time.UTC), Empty: []string{},
		Bytes: []byte{0, 255}, Odd: "a\x00b\xff", Map: map[string]*int64{"": nil, "x": new(int64(1<<53 + 1))},
	}
	var l log
	wantVerdicts(t, apply(t, store, l.record(versioning.Change{Machine: "thing", Key: "a", Event: "did", Data: sent})), "early no_entity")
	apply(t, store, l.record(versioning.Change{Machine: "thing", Key: "a", Event: "made"}))
	if fmt.Sprintf("%#v", got.At) != fmt.Sprintf("%#v", sent.At) || got.Nil != nil || got.Empty == nil || *got.Map["x"] != *sent.Map["x"] ||
		got.N != sent.N || got.Odd != sent.Odd || string(got.Bytes) != string(sent.Bytes) || got.Frac != sent.Frac || len(got.Map) != 2 {
		t.Errorf("got  %#v\nsent %#v", got, sent)
	}
}

// TestJSONData checks that data arrives as JSON, and that an error names the field.
func TestJSONData(t *testing.T) {
	t.Parallel()
	type capture struct {
		Amount int64 `json:"amount"`
	}
	m := statemachine.MustCompile(statemachine.Definition{
		Name: "thing", Version: 1,
		Transitions: []statemachine.Transition{{Event: "made", To: "ended", Do: statemachine.Do(func(_ *statemachine.Firing, row *account, c capture) error {
			row.Balance = c.Amount
			return nil
		})}},
		Terminal: statemachine.In("ended"),
	})
	pool, store := openThings(t, `, balance bigint NOT NULL`, postgres.Table{Machine: m})
	var l log
	say := func(key, raw string) *versioning.Record {
		return l.record(versioning.Change{Machine: "thing", Key: key, Event: "made", Data: json.RawMessage(raw)})
	}
	wantVerdicts(t, apply(t, store, say("a", `{"amount":9007199254740993}`), say("b", `{"amount":"7"}`), say("c", `{`)),
		"applied", "rejected invalid_data", "rejected invalid_data")
	wantRows(t, pool, `SELECT id || balance FROM thing`, "a9007199254740993")
	wantRows(t, pool, `SELECT detail FROM pawl.dead_letters WHERE entity = 'b' AND detail LIKE '%capture.amount of type int64%'`,
		query(t, pool, `SELECT detail FROM pawl.dead_letters WHERE entity = 'b'`)...)
}
