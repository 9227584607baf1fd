package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// The tests of this file compare a batch with the same records in one transaction each:
// tables whose constraints and triggers could tell the difference must not.

func thingMachine(name string) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: name, Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "made", To: "new"},
			{Event: "touch", From: statemachine.In("new"), To: "new"},
			{Event: "paid", From: statemachine.In("new"), To: "paid"},
		},
		Terminal: statemachine.In("paid"),
	})
}

var thing = thingMachine("thing")

// createThing creates the table thing with additional columns, and runs more.
func createThing(t *testing.T, columns, more string) *pgxpool.Pool {
	t.Helper()
	pool := testenv.Pool(t, migrated)
	if columns != "" {
		columns = ", " + columns
	}
	mustExec(t, pool, `CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL`+columns+`);`+more)
	return pool
}

func openThing(t *testing.T, pool *pgxpool.Pool) *postgres.Store {
	t.Helper()
	return open(t, pool, postgres.Table{Machine: thing, Name: "thing"})
}

func tracedThing(t *testing.T, pool *pgxpool.Pool) (*postgres.Store, *tracer) {
	t.Helper()
	tr := &tracer{}
	config := pool.Config()
	config.ConnConfig.Tracer = tr
	other, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	tr.pool = other
	return openThing(t, other), tr
}

// event returns a record with one change to the table thing.
func (l *log) event(key string, event statemachine.Event, set versioning.Columns) *versioning.Record {
	return l.record(versioning.Change{Machine: "thing", Key: key, Event: event, Set: set})
}

// deal applies records in batches over four connections, and returns the verdicts.
func deal(t *testing.T, store *postgres.Store, records []*versioning.Record, size int) []versioning.Outcome {
	t.Helper()
	prepare(store, records)
	outcomes := make([]versioning.Outcome, len(records))
	for from := 0; from < len(records); from += size {
		lists, index, err := store.Split(t.Context(), records[from:min(from+size, len(records))], 4)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i, list := range lists {
			wg.Go(func() {
				for done := 0; done < len(list); {
					result, err := store.Apply(t.Context(), "", list[done:])
					for j, o := range result.Outcomes {
						outcomes[from+index[i][done+j]] = o
					}
					done += len(result.Outcomes)
					if err != nil {
						t.Errorf("Apply: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	return outcomes
}

// count returns how many records got each verdict.
func count(outcomes []versioning.Outcome) map[string]int {
	n := make(map[string]int)
	for _, v := range verdicts(outcomes) {
		n[v]++
	}
	return n
}

func wantAllApplied(t *testing.T, outcomes []versioning.Outcome) {
	t.Helper()
	if n := count(outcomes); n["applied"] != len(outcomes) {
		t.Errorf("verdicts on %d records: %v, want all applied", len(outcomes), n)
	}
}

// logRate logs how fast do is.
func logRate(t *testing.T, records int, do func()) {
	t.Helper()
	start := time.Now()
	do()
	t.Logf("%.0f records/s", float64(records)/time.Since(start).Seconds())
}

// bothWays runs a test with one record per transaction, and with all records in one
// batch.
func bothWays(t *testing.T, test func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome)) {
	t.Helper()
	t.Run("one by one", func(t *testing.T) {
		t.Parallel()
		test(t, func(store *postgres.Store, records ...*versioning.Record) (all []versioning.Outcome) {
			for _, r := range records {
				all = append(all, apply(t, store, r).Outcomes...)
			}
			return all
		})
	})
	t.Run("one batch", func(t *testing.T) {
		t.Parallel()
		test(t, func(store *postgres.Store, records ...*versioning.Record) []versioning.Outcome {
			return apply(t, store, records...).Outcomes
		})
	})
}

// TestParentsInTheSameBatch checks a table in which every second entity references the
// one before it.
func TestParentsInTheSameBatch(t *testing.T) {
	t.Parallel()
	const n = 5000
	pool := createThing(t, `parent text REFERENCES thing (id)`, ``)
	store := openThing(t, pool)
	var l log
	records := make([]*versioning.Record, n)
	for i := range records {
		var set versioning.Columns
		if i%2 == 1 {
			set = versioning.Columns{"parent": key(i - 1)}
		}
		records[i] = l.event(key(i), "made", set)
	}
	logRate(t, n, func() { wantAllApplied(t, deal(t, store, records, 1000)) })
	wantRows(t, pool, `SELECT count(*) || ' ' || count(parent) FROM thing`, fmt.Sprint(n, " ", n/2))
	wantRows(t, pool, `SELECT entity FROM pawl.dead_letters LIMIT 1`)
}

// TestCustomersInTheSameBatch checks orders that reference a customer of another
// machine, which comes right before them. That needs hardly more statements than
// without the foreign key: no batch fails and is split.
func TestCustomersInTheSameBatch(t *testing.T) {
	t.Parallel()
	const n = 2500
	sent := make(map[string]int)
	for _, references := range []string{"", "REFERENCES customer (id)"} {
		pool := testenv.Pool(t, migrated)
		mustExec(t, pool, `
CREATE TABLE customer (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL);
CREATE TABLE purchase (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, customer text `+references+`)`)
		tr := &tracer{}
		config := pool.Config()
		config.ConnConfig.Tracer = tr
		other, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.Close)
		store := open(t, other, postgres.Table{Machine: thingMachine("customer"), Name: "customer"},
			postgres.Table{Machine: thingMachine("purchase"), Name: "purchase"})
		var l log
		var records []*versioning.Record
		for i := range n {
			records = append(records,
				l.record(versioning.Change{Machine: "customer", Key: key(i), Event: "made"}),
				l.record(versioning.Change{Machine: "purchase", Key: key(i), Event: "made", Set: versioning.Columns{"customer": key(i)}}))
		}
		logRate(t, len(records), func() {
			sent[references], _ = tr.counted(func() { wantAllApplied(t, deal(t, store, records, 1000)) })
		})
		wantRows(t, pool, `SELECT (SELECT count(*) FROM customer) || ' ' || (SELECT count(customer) FROM purchase)`, fmt.Sprint(n, " ", n))
		wantRows(t, pool, `SELECT entity FROM pawl.dead_letters LIMIT 1`)
	}
	if with, without := sent["REFERENCES customer (id)"], sent[""]; with > 3*without {
		t.Errorf("%d statements with the foreign key, %d without", with, without)
	}
}

// TestEachCodeRefusesOneRecord checks that one bad record among good ones is rejected,
// whatever the SQLSTATE.
func TestEachCodeRefusesOneRecord(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ORD01", "45000", "42501", "XX000", "0A000", "39P01", "2F002"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			pool := createThing(t, `note text`, raise("thing"))
			wantThirdRejected(t, openThing(t, pool), versioning.Columns{"note": code}, code)
			wantRows(t, pool, `SELECT id FROM thing ORDER BY id`, "k0000", "k0001", "k0003", "k0004")
		})
	}
}

// raise creates a trigger that fails with the SQLSTATE in the note.
func raise(table string) string {
	return `
CREATE FUNCTION raise_note() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = new.note; END $$;
CREATE TRIGGER raise_note BEFORE INSERT ON ` + table + ` FOR EACH ROW WHEN (new.note IS NOT NULL) EXECUTE FUNCTION raise_note()`
}

// wantThirdRejected applies five new entities, of which the third has columns that the
// database refuses.
func wantThirdRejected(t *testing.T, store *postgres.Store, bad versioning.Columns, code string) {
	t.Helper()
	var l log
	records := make([]*versioning.Record, 5)
	for i := range records {
		records[i] = l.event(key(i), "made", nil)
	}
	records[2].Changes[0].Set = bad
	result := apply(t, store, records...)
	wantVerdicts(t, result, "applied", "applied", "rejected constraint", "applied", "applied")
	if detail := result.Outcomes[2].Detail; !strings.Contains(detail, code) {
		t.Errorf("detail %q does not name SQLSTATE %s", detail, code)
	}
}

// TestRowSecurityRefusesOneRecord does the same with a row security policy.
func TestRowSecurityRefusesOneRecord(t *testing.T) {
	t.Parallel()
	pool := createThing(t, `tenant text DEFAULT 'ours'`, ``)
	restricted, role := asRole(t, pool)
	mustExec(t, pool, `
GRANT USAGE ON SCHEMA pawl TO `+role+`;
GRANT ALL ON ALL TABLES IN SCHEMA pawl TO `+role+`;
GRANT SELECT, INSERT, UPDATE ON thing TO `+role+`;
ALTER TABLE thing ENABLE ROW LEVEL SECURITY;
CREATE POLICY ours ON thing USING (true) WITH CHECK (tenant = 'ours')`)
	wantThirdRejected(t, openThing(t, restricted), versioning.Columns{"tenant": "theirs"}, "42501")
	wantRows(t, pool, `SELECT id FROM thing ORDER BY id`, "k0000", "k0001", "k0003", "k0004")
}

// TestAllRefusedIsTrouble checks that the records are not rejected if every record of a
// batch fails with such a code.
func TestAllRefusedIsTrouble(t *testing.T) {
	t.Parallel()
	pool := createThing(t, `note text DEFAULT 'XX000'`, raise("thing"))
	store := openThing(t, pool)
	var l log
	records := make([]*versioning.Record, 5)
	for i := range records {
		records[i] = l.event(key(i), "made", nil)
	}
	prepare(store, records)
	result, err := store.Apply(t.Context(), "", records)
	if err == nil || len(result.Outcomes) > 0 {
		t.Errorf("Apply = %v, %v; want no verdict, and an error", verdicts(result.Outcomes), err)
	}
	wantRows(t, pool, `SELECT entity FROM pawl.dead_letters`)

	// Once other records were accepted, the record is at fault, unless the error is
	// about privileges or the like.
	apply(t, store, l.event("good", "made", versioning.Columns{"note": nil}))
	wantVerdicts(t, apply(t, store, records[0]), "rejected constraint")
	forbidden := []*versioning.Record{l.event("bad", "made", versioning.Columns{"note": "42501"})}
	prepare(store, forbidden)
	if result, err := store.Apply(t.Context(), "", forbidden); versioning.CauseOf(err) != versioning.Fatal {
		t.Errorf("Apply = %v, %v; want an error that is fatal", verdicts(result.Outcomes), err)
	}
}

// TestRowVersionTrigger checks that a trigger that counts each update, as the framework
// does, makes no difference, however many steps a batch has.
func TestRowVersionTrigger(t *testing.T) {
	t.Parallel()
	pool := createThing(t, ``, overwriting(`new.version := old.version + 1`))
	store := openThing(t, pool)
	var l log
	apply(t, store, l.event("a", "made", nil))
	wantVerdicts(t, apply(t, store, l.event("a", "touch", nil), l.event("a", "touch", nil), l.event("a", "touch", nil)), repeat("applied", 3)...)
	wantVerdicts(t, apply(t, store, l.event("a", "touch", nil)), "applied")
	wantVerdicts(t, apply(t, store, l.event("a", "paid", nil)), "applied")
	wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,paid,6)")
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
}

// overwriting creates a trigger that changes what is written.
func overwriting(assignment string) string {
	return `
CREATE FUNCTION overwrite() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + assignment + `; RETURN new; END $$;
CREATE TRIGGER overwriting BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION overwrite()`
}

// TestTriggerThatOverwrites checks that the first write detects a trigger that changes
// key, state or version, and writes nothing.
func TestTriggerThatOverwrites(t *testing.T) {
	t.Parallel()
	for column, assignment := range map[string]string{
		"id": `new.id := new.id || 'x'`, "state": `new.state := 'old'`, "version": `new.version := old.version + 2`,
	} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			pool := createThing(t, ``, overwriting(assignment))
			store := openThing(t, pool)
			var l log
			apply(t, store, l.event("a", "made", nil))
			for _, n := range []int{1, 3} {
				var records []*versioning.Record
				for range n {
					records = append(records, l.event("a", "touch", nil))
				}
				prepare(store, records)
				result, err := store.Apply(t.Context(), "", records)
				if len(result.Outcomes) > 0 || err == nil {
					t.Fatalf("Apply = %v, %v; want no verdict, and an error", verdicts(result.Outcomes), err)
				}
				tableErr, ok := errors.AsType[*postgres.TableError](err)
				if !ok || tableErr.Column != column || !strings.Contains(tableErr.Problem, "overwriting") {
					t.Errorf("Apply: %v; want a TableError that names column %s and the trigger overwriting", err, column)
				}
			}
			wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,new,1)")
			wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`)
		})
	}
}

// TestSparseRows checks that new entities that each set different columns need few
// statements, and get the defaults of the other columns.
func TestSparseRows(t *testing.T) {
	t.Parallel()
	const n, columns = 20_000, 24
	var ddl []string
	for c := range columns {
		ddl = append(ddl, fmt.Sprintf("c%02d int DEFAULT 7", c))
	}
	pool := createThing(t, strings.Join(ddl, ", "), ``)
	store, tr := tracedThing(t, pool)
	var l log
	records := make([]*versioning.Record, n)
	sum := columns * 7 * n
	random := uint64(1)
	for i := range records {
		set := versioning.Columns{}
		random = random*6364136223846793005 + 1442695040888963407
		for c := range columns {
			if random>>(c+32)&1 == 1 {
				set[fmt.Sprintf("c%02d", c)] = 100
				sum += 93
			}
		}
		records[i] = l.event(key(i), "made", set)
	}
	prepare(store, records)
	var statements int
	logRate(t, n, func() {
		statements, _ = tr.counted(func() {
			for batch := range slices.Chunk(records, 5000) {
				result, err := store.Apply(t.Context(), "", batch)
				if err != nil {
					t.Fatal(err)
				}
				wantAllApplied(t, result.Outcomes)
			}
		})
	})
	if statements > 100 {
		t.Errorf("%d statements for four batches", statements)
	}
	var all []string
	for c := range columns {
		all = append(all, fmt.Sprintf("c%02d", c))
	}
	wantRows(t, pool, `SELECT sum(`+strings.Join(all, "+")+`)::text FROM thing`, fmt.Sprint(sum))
}

// TestEveryThirdRefused checks that a batch with many refused records takes only a few
// times as long as one without.
func TestEveryThirdRefused(t *testing.T) {
	t.Parallel()
	const n = 5000
	pool := createThing(t, `x int CHECK (x > 0)`, ``)
	store, tr := tracedThing(t, pool)
	trips := make(map[int]int)
	for _, bad := range []int{1, -1} {
		l := log{next: int64(bad) * n}
		records := make([]*versioning.Record, n)
		want := repeat("applied", n)
		for i := range records {
			x := 1
			if i%3 == 2 {
				x = bad
				if bad < 0 {
					want[i] = "rejected constraint"
				}
			}
			records[i] = l.event(fmt.Sprint(bad, "-", i), "made", versioning.Columns{"x": x})
		}
		prepare(store, records)
		logRate(t, n, func() {
			_, trips[bad] = tr.counted(func() {
				for from := 0; from < n; from += 1000 {
					result, err := store.Apply(t.Context(), "", records[from:from+1000])
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(verdicts(result.Outcomes), want[from:from+1000]) {
						t.Fatalf("other verdicts: %v", count(result.Outcomes))
					}
				}
			})
		})
	}
	if trips[-1] > 50*trips[1] {
		t.Errorf("%d round trips with a third refused, %d with none", trips[-1], trips[1])
	}
}

// TestRefusedInTheMiddle checks that a step that a CHECK refuses is refused even if
// later steps of the batch overwrite its columns, and that an audit trigger sees each
// step.
func TestRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, `x int CHECK (x > 0)`, `
CREATE TABLE audit (n bigint GENERATED ALWAYS AS IDENTITY, x int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit (x) VALUES (new.x); RETURN NULL; END';
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION note()`)
		var l log
		outcomes := apply(openThing(t, pool), l.event("a", "made", versioning.Columns{"x": 1}),
			l.event("a", "touch", versioning.Columns{"x": -5}), l.event("a", "touch", versioning.Columns{"x": 2}))
		wantVerdicts(t, versioning.Result{Outcomes: outcomes}, "applied", "rejected constraint", "applied")
		wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,new,2,2)")
		wantRows(t, pool, `SELECT x::text FROM audit ORDER BY n`, "1", "2")
	})
}

// TestCheckForbidsState checks that Open reports the machine's states that the
// constraints of the state column refuse.
func TestCheckForbidsState(t *testing.T) {
	t.Parallel()
	for check, fits := range map[string]bool{
		`CHECK (state IN ('new'))`:                        false,
		`CHECK (state = 'new' OR state = 'old')`:          false,
		`CHECK (state IN ('new', 'paid', 'gone'))`:        true,
		`CHECK (length(state) < 4)`:                       false,
		`CHECK (state <> 'paid' OR amount > 0)`:           true, // depends on the row
		`CHECK (amount > 0 AND state IN ('new', 'paid'))`: true,
	} {
		pool := createThing(t, `amount int, CONSTRAINT known_state `+check, ``)
		_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: thing, Name: "thing"})
		tableErr, ok := errors.AsType[*postgres.TableError](err)
		switch {
		case fits && err != nil:
			t.Errorf("%s: Open: %v", check, err)
		case !fits && (!ok || tableErr.Column != "state" || !strings.Contains(tableErr.Problem, "paid") || !strings.Contains(tableErr.Problem, "known_state")):
			t.Errorf("%s: Open: %v; want a TableError about column state that names the state and the constraint", check, err)
		}
	}
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE DOMAIN condition AS text CHECK (value IN ('new', 'old'));
CREATE TABLE thing (id text PRIMARY KEY, state condition NOT NULL, version bigint NOT NULL)`)
	if _, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: thing, Name: "thing"}); !errors.Is(err, postgres.ErrTable) {
		t.Errorf("a domain's CHECK: Open: %v; want a TableError", err)
	}
}

// TestExhaustedSequence checks that records are not rejected because the sequence of a
// column's default is exhausted.
func TestExhaustedSequence(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE SEQUENCE ten MAXVALUE 10;
CREATE TABLE thing (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, n int NOT NULL DEFAULT nextval('ten'))`)
	store := openThing(t, pool)
	var l log
	records := make([]*versioning.Record, 1000)
	for i := range records {
		records[i] = l.event(key(i), "made", nil)
	}
	prepare(store, records)
	for range 3 {
		result, err := store.Apply(t.Context(), "", records)
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pgErr.Code != "2200H" || versioning.CauseOf(err) == versioning.Data || !strings.Contains(err.Error(), "ten") {
			t.Errorf("Apply: %v after %v; want trouble that names the sequence", err, count(result.Outcomes))
		}
		wantRows(t, pool, `SELECT count(*)::text FROM pawl.dead_letters`, "0")
		records = records[len(result.Outcomes):]
	}
	mustExec(t, pool, `ALTER SEQUENCE ten MAXVALUE 100000`)
	wantAllApplied(t, apply(t, store, records...).Outcomes)
	wantRows(t, pool, `SELECT count(*)::text FROM thing`, "1000")
}

// TestTriggerThatSums checks a trigger that adds up a column of each step.
func TestTriggerThatSums(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, `authorised int, captured int NOT NULL DEFAULT 0, last_capture int`, `
CREATE FUNCTION add() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.captured := old.captured + new.last_capture; RETURN new; END';
CREATE TRIGGER add BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION add()`)
		store := openThing(t, pool)
		var l log
		capture := func(key string) *versioning.Record {
			return l.event(key, "touch", versioning.Columns{"last_capture": 20})
		}
		made := versioning.Columns{"authorised": 100}
		wantAllApplied(t, apply(store, l.event("there", "made", made)))
		wantAllApplied(t, apply(store, capture("there"), capture("there"), capture("there")))
		wantAllApplied(t, apply(store, l.event("fresh", "made", made), capture("fresh"), capture("fresh"), capture("fresh")))
		wantRows(t, pool, `SELECT id || ' ' || captured FROM thing ORDER BY id`, "fresh 60", "there 60")
	})
}

// TestOutboxTrigger checks a trigger that writes a row for each step.
func TestOutboxTrigger(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, ``, `
CREATE TABLE outbox (n bigint GENERATED ALWAYS AS IDENTITY, id text, state text, version bigint);
CREATE FUNCTION send() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO outbox (id, state, version) VALUES (new.id, new.state, new.version); RETURN NULL; END';
CREATE TRIGGER send AFTER INSERT OR UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION send()`)
		var l log
		wantAllApplied(t, apply(openThing(t, pool),
			l.event("a", "made", nil), l.event("a", "touch", nil), l.event("a", "touch", nil), l.event("a", "paid", nil)))
		wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM outbox ORDER BY n`, "a new 1", "a new 2", "a new 3", "a paid 4")
	})
}

// TestCheckOfTwoColumns checks a step that violates a CHECK until a later step of the
// batch.
func TestCheckOfTwoColumns(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, `amount int, captured int, CHECK (captured <= amount)`, ``)
		var l log
		outcomes := apply(openThing(t, pool), l.event("a", "made", versioning.Columns{"amount": 100}),
			l.event("a", "touch", versioning.Columns{"captured": 160}), l.event("a", "touch", versioning.Columns{"captured": 50}))
		wantVerdicts(t, versioning.Result{Outcomes: outcomes}, "applied", "rejected constraint", "applied")
		wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,new,2,100,50)")
	})
}

// TestColumnOfTheSecondStep checks a NOT NULL column that only the second record sets.
func TestColumnOfTheSecondStep(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, `amount int NOT NULL`, ``)
		var l log
		outcomes := apply(openThing(t, pool), l.event("a", "made", nil), l.event("a", "touch", versioning.Columns{"amount": 1}))
		wantVerdicts(t, versioning.Result{Outcomes: outcomes}, "rejected constraint", "early no_entity")
		wantRows(t, pool, `SELECT id FROM thing`)
		wantRows(t, pool, `SELECT entity FROM pawl.parked`, "a")
	})
}

// TestMaxParkedWithRefusedRecord checks that MaxParked also applies if the batch fails
// because of one record and its records are written one by one.
func TestMaxParkedWithRefusedRecord(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
		pool := createThing(t, `x int CHECK (x > 0)`, ``)
		store := open(t, pool, postgres.Table{Machine: thing, Name: "thing", MaxParked: 1})
		var l log
		apply(store, l.event("a", "touch", versioning.Columns{"x": -5}), l.event("a", "touch", nil), l.event("a", "made", nil))
		wantRows(t, pool, `SELECT "offset" || ' ' || reason FROM pawl.dead_letters ORDER BY "offset"`, "0 constraint", "1 too_many_parked")
		wantRows(t, pool, `SELECT t::text FROM thing AS t`, "(a,new,1,)")
	})
}
