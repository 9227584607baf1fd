package postgres_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// fill creates a trigger that sets a column.
func fill(assignment string) string {
	return `
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + assignment + `; RETURN new; END $$;
CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION fill()`
}

// TestInTheOrderOfTheLog checks that constraints accept and refuse the same entities in
// a batch as with one record per transaction.
func TestInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	type columns = versioning.Columns
	type event struct {
		key  string
		name statemachine.Event
		set  columns
	}
	const unique = `x int CHECK (x > 0), code text UNIQUE`
	for name, c := range map[string]struct {
		columns, more string
		before, batch []event
		want          []string
	}{
		"a place that is given up later": {
			unique, ``,
			[]event{{"a", "made", columns{"code": "X"}}},
			[]event{{"c", "made", columns{"code": "X"}}, {"a", "touch", columns{"code": "Y"}}},
			[]string{"rejected constraint", "applied"},
		},
		"a place that is given up behind a refused record": {
			unique, ``,
			[]event{{"a", "made", columns{"code": "X"}}},
			[]event{{"a", "touch", columns{"x": -5}}, {"a", "touch", columns{"code": "Y"}}, {"c", "made", columns{"code": "X"}}},
			[]string{"rejected constraint", "applied", "applied"},
		},
		"a place that is given up since a record was refused": {
			unique, ``,
			[]event{{"a", "made", columns{"code": "X"}}},
			[]event{{"a", "paid", columns{"x": -5}}, {"a", "touch", columns{"code": "Y"}}, {"c", "made", columns{"code": "X"}}, {"d", "made", nil}},
			[]string{"rejected constraint", "applied", "applied", "applied"},
		},
		"a unique column that is generated": {
			`x int, g int GENERATED ALWAYS AS (x) STORED UNIQUE`, ``,
			[]event{{"a", "made", columns{"x": 1}}, {"b", "made", columns{"x": 5}}},
			[]event{{"b", "touch", columns{"x": 1}}, {"a", "touch", columns{"x": 2}}},
			[]string{"rejected constraint", "applied"},
		},
		"a unique column that a trigger sets": {
			`x int, code int UNIQUE`, fill(`new.code := new.x`),
			[]event{{"a", "made", columns{"x": 1}}, {"b", "made", columns{"x": 5}}},
			[]event{{"b", "touch", columns{"x": 1}}, {"a", "touch", columns{"x": 2}}},
			[]string{"rejected constraint", "applied"},
		},
		"a unique column that a trigger sets with the whole row": {
			`x int, code int UNIQUE`, fill(`SELECT new.id, new.state, new.version, new.x, new.x INTO new`),
			[]event{{"a", "made", columns{"x": 1}}, {"b", "made", columns{"x": 5}}},
			[]event{{"b", "touch", columns{"x": 1}}, {"a", "touch", columns{"x": 2}}},
			[]string{"rejected constraint", "applied"},
		},
		"a parent that a trigger names": {
			`x text, parent text REFERENCES thing`, fill(`new.parent := new.x`),
			nil,
			[]event{{"b", "made", columns{"x": "a"}}, {"a", "made", nil}},
			[]string{"rejected constraint", "applied"},
		},
		"a parent that is named by another column": {
			`x int UNIQUE, y int REFERENCES thing (x)`, ``,
			nil,
			[]event{{"a", "made", columns{"y": 1}}, {"b", "made", columns{"x": 1}}, {"c", "made", columns{"y": 1}}},
			[]string{"rejected constraint", "applied", "applied"},
		},
		"a default that is refused": {
			`x int DEFAULT -1 CHECK (x > 0)`, ``,
			nil,
			[]event{{"a", "made", nil}, {"a", "touch", columns{"x": 1}}},
			[]string{"rejected constraint", "early no_entity"},
		},
		"a parent that a default names": {
			`parent text DEFAULT 'a' REFERENCES thing`, ``,
			nil,
			[]event{{"b", "made", nil}, {"a", "made", columns{"parent": nil}}, {"c", "made", nil}},
			[]string{"rejected constraint", "applied", "applied"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, apply func(*postgres.Store, ...*versioning.Record) []versioning.Outcome) {
				store := openThing(t, createThing(t, c.columns, c.more))
				var l log
				records := func(events []event) (all []*versioning.Record) {
					for _, e := range events {
						all = append(all, l.event(e.key, e.name, e.set))
					}
					return all
				}
				wantAllApplied(t, apply(store, records(c.before)...))
				wantVerdicts(t, versioning.Result{Outcomes: apply(store, records(c.batch)...)}, c.want...)
			})
		})
	}
}

// TestTiedByConstraints checks that records whose order matters for a constraint are in
// one list, for every kind of constraint, and that others are not.
func TestTiedByConstraints(t *testing.T) {
	t.Parallel()
	type changes = []versioning.Change
	made := func(key, column string, value any) versioning.Change {
		return versioning.Change{Machine: "thing", Key: key, Event: "made", Set: versioning.Columns{column: value}}
	}
	touch := func(key, column string, value any) versioning.Change {
		return versioning.Change{Machine: "thing", Key: key, Event: "touch", Set: versioning.Columns{column: value}}
	}
	const (
		code    = `note text, code text UNIQUE`
		parent  = `note text, parent text REFERENCES thing`
		of10    = `note text, x int, ten int GENERATED ALWAYS AS (x % 10) STORED UNIQUE`
		stamped = `note text, code text UNIQUE, at timestamptz`
	)
	for name, c := range map[string]struct {
		columns, more string
		parked        []changes
		records       changes // one per record
		tied          bool
	}{
		"one value":       {code, ``, nil, changes{made("a", "code", "X"), made("b", "code", "X")}, true},
		"two values":      {code, ``, nil, changes{made("a", "code", "X"), made("b", "code", "Y")}, false},
		"NULL twice":      {code, ``, nil, changes{made("a", "code", nil), made("b", "note", "")}, false},
		"a text twice":    {`code varchar(3) UNIQUE`, ``, nil, changes{made("a", "code", "X    "), made("b", "code", "X  ")}, true},
		"a number twice":  {`code int UNIQUE`, ``, nil, changes{made("a", "code", "01"), made("b", "code", "+1")}, true},
		"a place given":   {code, ``, nil, changes{touch("a", "code", "X"), made("b", "note", "")}, true},
		"a default":       {`note text, code text DEFAULT 'X' UNIQUE`, ``, nil, changes{made("a", "note", ""), made("b", "code", "X")}, true},
		"a parent":        {parent, ``, nil, changes{made("a", "note", ""), made("b", "parent", "a")}, true},
		"another parent":  {parent, ``, nil, changes{made("a", "note", ""), made("b", "parent", "c")}, false},
		"a parent's name": {`note text, parent text DEFAULT 'a' REFERENCES thing`, ``, nil, changes{made("a", "note", ""), made("b", "note", "")}, true},
		"a generated one": {of10, ``, nil, changes{touch("a", "x", 11), touch("b", "x", 21)}, true},
		"a trigger's":     {code, fill(`new.code := lower(new.code)`), nil, changes{made("a", "code", "X"), made("b", "code", "x")}, true},
		"a trigger aside": {stamped, fill(`new.at := now()`), nil, changes{made("a", "code", "X"), made("b", "code", "Y")}, false},
		"one value, parked": {
			code, ``,
			[]changes{{touch("a", "code", "X")}},
			changes{made("a", "note", ""), made("b", "code", "X")},
			true,
		},
		"a parent, parked": {
			parent, ``,
			[]changes{{touch("a", "parent", "b")}},
			changes{made("b", "note", ""), made("a", "note", "")},
			true,
		},
		"a parent, parked for another": {
			parent, ``,
			[]changes{{touch("c", "parent", "b")}},
			changes{made("b", "note", ""), made("a", "note", "")},
			false,
		},
		"one value, parked for one that a parked record makes": {
			code, ``,
			[]changes{{touch("c", "code", "X")}, {touch("a", "note", ""), made("c", "note", "")}},
			changes{made("a", "note", ""), made("b", "code", "X")},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := openThing(t, createThing(t, c.columns, c.more))
			var l log
			for _, changes := range c.parked {
				wantVerdicts(t, apply(t, store, l.record(changes...)), "early no_entity")
			}
			records := []*versioning.Record{l.record(c.records[0]), l.record(c.records[1])}
			prepare(store, records)
			apart := 0
			for range 20 { // they may share a list by chance
				lists, _, err := store.Split(t.Context(), records, 8)
				if err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(lists, func(list []*versioning.Record) bool { return len(list) == 1 }) {
					apart++
				}
			}
			if c.tied != (apart == 0) {
				t.Errorf("in different lists %d of 20 times, want tied: %t", apart, c.tied)
			}
		})
	}
}

// TestInOneAttempt checks that records that depend on each other, and are in order,
// need no more round trips than others.
func TestInOneAttempt(t *testing.T) {
	t.Parallel()
	type columns = versioning.Columns
	made := func(machine, key string, set columns) versioning.Change {
		return versioning.Change{Machine: machine, Key: key, Event: "made", Set: set}
	}
	touch := func(key string, set columns) versioning.Change {
		return versioning.Change{Machine: "customer", Key: key, Event: "touch", Set: set}
	}
	for name, c := range map[string]struct {
		column        string
		before, batch []versioning.Change
	}{
		"a parent": {
			`customer text REFERENCES customer`, nil,
			[]versioning.Change{made("customer", "a", nil), made("purchase", "p", columns{"customer": "a"})},
		},
		"a parent by default": {
			`customer text DEFAULT 'a' REFERENCES customer`, nil,
			[]versioning.Change{made("customer", "a", nil), made("purchase", "p", nil)},
		},
		"a place, by the second step": {
			`note text`,
			[]versioning.Change{made("customer", "a", columns{"code": "X"})},
			[]versioning.Change{touch("a", columns{"x": 1}), touch("a", columns{"code": "Y"}), made("customer", "b", columns{"code": "X"})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, migrated)
			mustExec(t, pool, `
CREATE TABLE customer (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, x int CHECK (x > 0), code text UNIQUE);
CREATE TABLE purchase (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, `+c.column+`)`)
			tr := &tracer{}
			config := pool.Config()
			config.ConnConfig.Tracer = tr
			other, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(other.Close)
			store := open(t, other, postgres.Table{Machine: thingMachine("purchase"), Name: "purchase"},
				postgres.Table{Machine: thingMachine("customer"), Name: "customer"})
			var l log
			settle := func(changes []versioning.Change) {
				var records []*versioning.Record
				for _, change := range changes {
					records = append(records, l.record(change))
				}
				if len(records) > 0 {
					wantAllApplied(t, apply(t, store, records...).Outcomes)
				}
			}
			settle(c.before)
			if _, trips := tr.counted(func() { settle(c.batch) }); trips > 2 {
				t.Errorf("%d round trips, want at most 2", trips)
			}
		})
	}
}

// TestSplitWithMuchParked checks that all records go into one list if more records are
// parked than are worth reading.
func TestSplitWithMuchParked(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	wantVerdicts(t, apply(t, store, l.record(
		versioning.Change{Key: "x", Event: "captured"}, versioning.Change{Key: "y", Event: "captured"})), "early no_entity")
	mustExec(t, pool, `
INSERT INTO pawl.parked (topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version, changes, key, value, headers, "timestamp")
SELECT topic_id, partition, n, scope, topic, machine, entity, reason, seen_version, changes, key, value, headers, "timestamp"
FROM pawl.parked, generate_series(1, 10000) AS n`)
	records := make([]*versioning.Record, 100)
	for i := range records {
		records[i] = l.say(key(i), "placed")
	}
	prepare(store, records)
	lists, _, err := store.Split(t.Context(), records, 4)
	if err != nil || len(lists) != 1 {
		t.Errorf("%d lists, %v; want one", len(lists), err)
	}
}

// TestMaxRefused checks that records are rejected only until too many in a row were
// refused for the same reason, and how these are counted.
func TestMaxRefused(t *testing.T) {
	t.Parallel()
	pool := createThing(t, `x int CHECK (x > 0), y int CHECK (y > 0)`, ``)
	_, tr := tracedThing(t, pool)
	store := open(t, tr.pool, postgres.Table{Machine: thing, Name: "thing", MaxRefused: 3})
	var l log
	bad := func(column string) *versioning.Record {
		return l.event(key(int(l.next)), "made", versioning.Columns{column: -1})
	}
	good := func() *versioning.Record { return l.event(key(int(l.next)), "made", nil) }
	refused := func(n int) []string { return repeat("rejected constraint", n) }

	three := []*versioning.Record{bad("x"), bad("x"), bad("x")}
	prepare(store, three)
	attempts := 0
	tr.before(func(_ context.Context, conn *pgx.Conn) {
		if attempts++; attempts == 2 { // the refusals are known but not settled
			_ = conn.PgConn().Conn().Close()
		}
	})
	if result, err := store.Apply(t.Context(), "", three); err == nil || errors.Is(err, postgres.ErrAllRefused) {
		t.Fatalf("Apply = %v, %v; want a broken connection", verdicts(result.Outcomes), err)
	}
	tr.before(nil)
	wantVerdicts(t, apply(t, store, three...), refused(3)...)
	fourth := bad("x")
	prepare(store, []*versioning.Record{fourth})
	for range 3 { // retries do not count
		if _, err := store.Apply(t.Context(), "", []*versioning.Record{fourth}); !errors.Is(err, postgres.ErrAllRefused) ||
			versioning.CauseOf(err) != versioning.Infrastructure {
			t.Fatalf("Apply = %v, want ErrAllRefused", err)
		}
	}
	wantRows(t, pool, `SELECT count(*)::text FROM pawl.dead_letters`, "3")
	wantVerdicts(t, apply(t, store, bad("y")), refused(1)...)                     // another reason
	wantVerdicts(t, apply(t, store, bad("x"), bad("x"), bad("x")), refused(3)...) // starts from zero
	wantVerdicts(t, apply(t, store, good()), "applied")
	wantVerdicts(t, apply(t, store, bad("x"), bad("x"), bad("x")), refused(3)...)
	wantVerdicts(t, apply(t, store, bad("x"), bad("x"), good(), bad("x")), "rejected constraint", "rejected constraint", "applied", "rejected constraint")

	// A record counts once, however many changes it has.
	x := func(k string) versioning.Change {
		return versioning.Change{Machine: "thing", Key: k, Event: "made", Set: versioning.Columns{"x": -1}}
	}
	wantVerdicts(t, apply(t, store, l.record(x("m"), x("n"), x("o"), x("p"), x("q"))), refused(1)...)
}
