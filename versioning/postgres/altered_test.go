package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestAlteredTable alters a table under an open store. The store must then behave like
// one that is opened after the change and applies the records one by one.
func TestAlteredTable(t *testing.T) {
	t.Parallel()
	type sets = []versioning.Columns // each of a different entity, or all of the same one
	const audit = `
CREATE TABLE audit (n serial, entity text, version bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit (entity, version) VALUES (new.id, new.version); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit();`
	for name, test := range map[string]struct {
		before, ddl string
		records     sets
		also        string // a query whose result must be the same too
	}{
		"check":          {"", `ALTER TABLE orders ADD CHECK (amount > 0)`, sets{{"amount": 1}, {"amount": -5}, {"amount": 2}}, ""},
		"no check":       {`ALTER TABLE orders ADD CONSTRAINT plus CHECK (amount > 0)`, `ALTER TABLE orders DROP CONSTRAINT plus`, sets{{"amount": 1}, {"amount": -5}}, ""},
		"unique":         {"", `ALTER TABLE orders ADD UNIQUE (note)`, sets{{"note": "x"}, {"note": "warm"}, {"note": "y"}}, ""},
		"trigger":        {"", audit, sets{{"amount": 1}, {}, {"note": "x"}}, `SELECT entity || ' ' || version FROM audit ORDER BY entity, n`},
		"trigger off":    {audit + `ALTER TABLE orders DISABLE TRIGGER audit;`, `ALTER TABLE orders ENABLE TRIGGER audit`, sets{{}, {}}, `SELECT entity || ' ' || version FROM audit ORDER BY entity, n`},
		"foreign key":    {`CREATE TABLE codes (code text PRIMARY KEY); INSERT INTO codes VALUES ('warm'), ('a')`, `ALTER TABLE orders ADD FOREIGN KEY (code) REFERENCES codes`, sets{{"code": "b"}, {"code": "c"}, {"code": "a"}}, ""},
		"narrower type":  {"", `ALTER TABLE orders ALTER amount TYPE smallint`, sets{{"amount": 1}, {"amount": 40000}, {"amount": "1.5"}}, ""},
		"other type":     {"", `ALTER TABLE orders ALTER note TYPE int USING 1`, sets{{"note": 7}, {"note": "x"}, {"note": 8}}, ""},
		"shorter text":   {"", `ALTER TABLE orders ALTER note TYPE varchar(4)`, sets{{"note": "1234"}, {"note": "12345"}}, ""},
		"new column":     {"", `ALTER TABLE orders ADD extra int`, sets{{"extra": 1}, {"extra": "x"}}, ""},
		"dropped column": {"", `ALTER TABLE orders DROP note`, sets{{"amount": 1}, {"note": "x"}, {"amount": 2}}, ""},
		"renamed column": {"", `ALTER TABLE orders RENAME note TO remark`, sets{{"amount": 1}, {"note": "x"}, {"remark": "y"}}, ""},
		"required":       {"", `ALTER TABLE orders ADD needed int; UPDATE orders SET needed = 0; ALTER TABLE orders ALTER needed SET NOT NULL`, sets{{}, {"needed": 1}, {"note": "x"}}, ""},
		"default":        {"", `ALTER TABLE orders ALTER note SET DEFAULT 'new'`, sets{{"amount": 1}, {"code": "x"}}, ""},
		"domain":         {`CREATE DOMAIN money_ AS numeric; ALTER TABLE orders ALTER amount TYPE money_`, `ALTER DOMAIN money_ ADD CHECK (value > 0)`, sets{{"amount": 1}, {"amount": -5}, {"amount": 2}}, ""},
		"enum":           {`CREATE TYPE mood AS ENUM ('sad', 'warm'); ALTER TABLE orders ALTER note TYPE mood USING note::mood`, `ALTER TYPE mood ADD VALUE 'ok'`, sets{{"note": "sad"}, {"note": "ok"}, {"note": "nosuch"}}, ""},
		"row security": {"", `ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON orders USING (true) WITH CHECK (amount > 0 OR id = 'warm')`, sets{{"amount": 1}, {"amount": -5}, {"amount": 2}}, ""},
		"another table": {"", `ALTER TABLE orders RENAME TO former; CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version int NOT NULL, amount int CHECK (amount > 0))`, sets{{"amount": 1}, {"amount": -5}, {"note": "x"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type end struct{ Verdicts, Rows, Also []string }
			ended := func(pool *pgxpool.Pool, verdicts []string) end {
				e := end{verdicts, query(t, pool, `SELECT to_jsonb(orders)::text FROM orders ORDER BY id`), nil}
				if test.also != "" {
					e.Also = query(t, pool, test.also)
				}
				return e
			}
			prepared := func(store *postgres.Store, l *log) []*versioning.Record {
				var records []*versioning.Record
				for i, set := range test.records {
					event := statemachine.Event("noted")
					if i == 0 {
						event = "placed"
					}
					records = append(records, l.set("a", event, set), l.set(fmt.Sprint("b", i), "placed", set))
				}
				prepare(store, records)
				return records
			}
			opened := func() (*pgxpool.Pool, *postgres.Store, *log) {
				pool := testenv.Pool(t, withOrders)
				if test.before != "" {
					mustExec(t, pool, test.before)
				}
				store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
				l := &log{}
				wantVerdicts(t, apply(t, store, l.set("warm", "placed", versioning.Columns{"amount": 5, "note": "warm", "code": "warm"})), "applied")
				return pool, store, l
			}
			pool, store, l := opened()
			mustExec(t, pool, test.ddl)
			var verdicts []string
			for _, r := range prepared(store, l) {
				fresh := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
				verdicts = append(verdicts, told(apply(t, fresh, r).Outcomes)...)
			}
			want := ended(pool, verdicts)

			for _, when := range []string{"before", "after", "meanwhile"} {
				pool, store, l := opened()
				var records []*versioning.Record
				if when != "after" {
					records = prepared(store, l)
				}
				tx, err := pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec(t.Context(), test.ddl); err != nil {
					t.Fatal(err)
				}
				var committed sync.WaitGroup
				if commit := func() error { return tx.Commit(t.Context()) }; when != "meanwhile" || name == "enum" || name == "new column" { // nothing waits for these
					err = commit()
				} else {
					committed.Go(func() { err = commitOnceAwaited(t, pool, commit) })
				}
				if when == "after" {
					records = prepared(store, l)
				}
				result, failed := store.Apply(t.Context(), "", records)
				committed.Wait()
				if err = errors.Join(err, failed); err != nil {
					t.Fatalf("prepared %s: Apply: %v", when, err)
				}
				if diff := cmp.Diff(want, ended(pool, told(result.Outcomes))); diff != "" {
					t.Errorf("prepared %s (-want, +got):\n%s", when, diff)
				}
			}
		})
	}
}

// commitOnceAwaited commits once a session waits for a lock, or after a short time for
// a change that takes none.
func commitOnceAwaited(t *testing.T, pool *pgxpool.Pool, commit func() error) error {
	t.Helper()
	for range 200 {
		if n := query(t, pool, `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`); n[0] != "0" {
			break
		}
	}
	return commit()
}

// TestUnfitTable alters a table so that the machine can't use it, and then fixes it. In
// between nothing is settled.
func TestUnfitTable(t *testing.T) {
	t.Parallel()
	for ddl, fix := range map[string]string{
		`ALTER TABLE orders RENAME state TO status`:                                  `ALTER TABLE orders RENAME status TO state`,
		`ALTER TABLE orders RENAME version TO v`:                                     `ALTER TABLE orders RENAME v TO version`,
		`ALTER TABLE orders RENAME TO former`:                                        `ALTER TABLE former RENAME TO orders`,
		`ALTER TABLE orders ADD CONSTRAINT few CHECK (state <> 'pending') NOT VALID`: `ALTER TABLE orders DROP CONSTRAINT few`,
	} {
		t.Run(ddl, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			l := &log{}
			apply(t, store, l.say("warm", "placed"))
			mustExec(t, pool, ddl)
			records := []*versioning.Record{l.say("a", "placed"), l.set("b", "placed", versioning.Columns{"nosuch": 1})}
			prepare(store, records)
			for range 3 {
				result, err := store.Apply(t.Context(), "", records)
				if !errors.Is(err, postgres.ErrTable) || versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
					t.Fatalf("Apply = %v, %v; want trouble with the table", told(result.Outcomes), err)
				}
			}
			mustExec(t, pool, fix)
			wantVerdicts(t, apply(t, store, records...), "applied", "rejected invalid_column")
		})
	}
}

// TestAlteredMeanwhile creates and drops a trigger while batches are applied. While the
// trigger exists, it must see each step.
func TestAlteredMeanwhile(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustExec(t, pool, `
CREATE TABLE audit (entity text, version bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit VALUES (new.id, new.version); RETURN NULL; END $$`)
	var operator sync.WaitGroup
	alter := func(batch int) {
		ddl := `CREATE TRIGGER audit AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION audit()`
		if batch%2 == 1 {
			ddl = `DROP TRIGGER audit ON orders`
		}
		if _, err := pool.Exec(t.Context(), ddl); err != nil {
			t.Errorf("%s: %v", ddl, err)
		}
	}
	l := &log{}
	const batches, entities, steps = 60, 10, 5
	for b := range batches {
		var records []*versioning.Record
		for e := range entities {
			key := fmt.Sprint(b, "-", e)
			records = append(records, l.say(key, "placed"))
			for range steps - 1 {
				records = append(records, l.say(key, "noted"))
			}
		}
		prepare(store, records)
		operator.Go(func() { alter(b) })
		for done := 0; done < len(records); {
			result, err := store.Apply(t.Context(), "", records[done:])
			if versioning.CauseOf(err) == versioning.Fatal {
				t.Fatal(err)
			}
			for i, o := range result.Outcomes {
				if o.Verdict != versioning.Applied {
					t.Fatalf("record %d: %v", done+i, o)
				}
			}
			done += len(result.Outcomes)
		}
		operator.Wait()
	}
	wantRows(t, pool, `SELECT count(*) || ' ' || sum(version) FROM orders`, fmt.Sprint(batches*entities, " ", batches*entities*steps))
	wantRows(t, pool, fmt.Sprintf(`SELECT entity || ' ' || count(*) FROM audit GROUP BY entity HAVING count(*) <> %d`, steps))
	if n := query(t, pool, `SELECT count(DISTINCT entity)::text FROM audit`); n[0] == "0" {
		t.Error("the trigger did not fire for any batch")
	}
}

// TestSplitAgain alters a table after records were split. They must be split again,
// because the change ties records in different lists together.
func TestSplitAgain(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	const n = 100
	l := &log{}
	var records []*versioning.Record
	for i := range n {
		parent := fmt.Sprint("parent-", i)
		records = append(records, l.say(parent, "placed"), l.set(fmt.Sprint("child-", i), "placed", versioning.Columns{"note": parent}))
	}
	prepare(store, records)
	lists, _, err := store.Split(t.Context(), records, 4)
	if err != nil || len(lists) != 4 {
		t.Fatalf("Split = %d lists, %v; want 4", len(lists), err)
	}
	mustExec(t, pool, `ALTER TABLE orders ADD FOREIGN KEY (note) REFERENCES orders`)
	for _, list := range lists {
		result, err := store.Apply(t.Context(), "", list)
		if !errors.Is(err, versioning.ErrSplitAgain) || versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
			t.Errorf("Apply = %v, %v; want ErrSplitAgain", told(result.Outcomes), err)
		}
	}
	if lists, _, err = store.Split(t.Context(), records, 4); err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if len(list) > 0 {
			wantVerdicts(t, apply(t, store, list...), repeat("applied", len(list))...)
		}
	}
}
