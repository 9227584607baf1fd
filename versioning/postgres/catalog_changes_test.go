package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestRenamed renames or replaces objects that an open store knows by name, or that its
// tables depend on.
func TestRenamed(t *testing.T) {
	t.Parallel()
	const parent = `ALTER TABLE orders ADD CONSTRAINT parent FOREIGN KEY (note) REFERENCES orders DEFERRABLE INITIALLY DEFERRED`
	for name, test := range map[string]struct {
		before, ddl string
		note        string
		want        string // of the row
	}{
		"constraint":     {parent, `ALTER TABLE orders RENAME CONSTRAINT parent TO mother`, "p", "p"},
		"schema of type": {`CREATE SCHEMA a; CREATE TYPE a.mood AS ENUM ('p', 'q'); ALTER TABLE orders ALTER note TYPE a.mood USING note::a.mood`, `ALTER SCHEMA a RENAME TO b`, "p", "p"},
		"type":           {`CREATE TYPE mood AS ENUM ('p', 'q'); ALTER TABLE orders ALTER note TYPE mood USING note::mood`, `ALTER TYPE mood RENAME TO mind`, "p", "p"},
		"function of a default": {
			`CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'old' $$; ALTER TABLE orders ALTER note SET DEFAULT f()`,
			`ALTER FUNCTION f RENAME TO g; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'wrong' $$`, "", "old",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, withOrders)
			mustExec(t, pool, test.before)
			store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			l := &log{}
			both := func(i int) *versioning.Record { // the referencing row comes first
				set := versioning.Columns{}
				if test.note != "" {
					set["note"] = test.note
				}
				parent := versioning.Change{Machine: "order", Key: test.note, Event: "noted"}
				if i == 0 || test.note == "" {
					parent.Key, parent.Event = test.note+strings.Repeat("x", i), "placed"
				}
				if parent.Key == "" {
					parent.Key = "p"
				}
				return l.record(versioning.Change{Machine: "order", Key: key(i), Event: "placed", Set: set}, parent)
			}
			wantVerdicts(t, apply(t, store, both(0)), "applied")
			mustExec(t, pool, test.ddl)
			other := l.set("q", "placed", versioning.Columns{"note": nil})
			wantVerdicts(t, apply(t, store, other, both(1)), "applied", "applied")
			wantRows(t, pool, `SELECT note::text FROM orders WHERE id = 'k0001'`, test.want)
		})
	}
}

// TestSchemaOfTableRenamed renames the schema of a table under a store, and replaces
// it.
func TestSchemaOfTableRenamed(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `
CREATE SCHEMA market; CREATE TABLE market.orders (LIKE orders INCLUDING ALL);
CREATE SCHEMA next; CREATE TABLE next.orders (LIKE orders INCLUDING ALL);
CREATE TABLE audit (entity text, version bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit VALUES (new.id, new.version); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON next.orders FOR EACH ROW EXECUTE FUNCTION audit();`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "market.orders"})
	l := &log{}
	wantVerdicts(t, apply(t, store, l.say("warm", "placed")), "applied")

	mustExec(t, pool, `ALTER SCHEMA market RENAME TO former`)
	records := []*versioning.Record{l.say("a", "placed"), l.say("a", "noted")}
	prepare(store, records)
	if result, err := store.Apply(t.Context(), "", records); !errors.Is(err, postgres.ErrTable) || versioning.CauseOf(err) != versioning.Infrastructure || len(result.Outcomes) > 0 {
		t.Errorf("Apply without the schema = %v, %v; want trouble with the table", told(result.Outcomes), err)
	}
	mustExec(t, pool, `ALTER SCHEMA next RENAME TO market`)
	wantVerdicts(t, apply(t, store, records...), "applied", "applied")
	wantRows(t, pool, `SELECT entity || version FROM audit ORDER BY version`, "a1", "a2")

	mustExec(t, pool, `ALTER SCHEMA market RENAME TO next; ALTER SCHEMA former RENAME TO market`)
	wantVerdicts(t, apply(t, store, l.say("b", "placed"), l.say("b", "noted")), "applied", "applied")
	wantRows(t, pool, `SELECT id || version FROM market.orders ORDER BY id`, "b2", "warm1")
	wantRows(t, pool, `SELECT id || version FROM next.orders ORDER BY id`, "a2")
}

// TestTriggerThatCreatesTables lets a trigger create a table with a foreign key to the
// trigger's table, which adds PostgreSQL's internal triggers to that table.
func TestTriggerThatCreatesTables(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustExec(t, pool, `
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE format('CREATE TABLE IF NOT EXISTS %I (id text REFERENCES orders)', 'log_' || new.note);
	EXECUTE format('INSERT INTO %I VALUES ($1)', 'log_' || new.note) USING new.id;
	RETURN NULL; END $$;
CREATE TRIGGER keep AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION keep()`)
	l := &log{}
	for _, month := range []string{"may", "june"} {
		var records []*versioning.Record
		for i := range 5 {
			records = append(records, l.set(month+key(i), "placed", versioning.Columns{"note": month}))
		}
		wantVerdicts(t, apply(t, store, records...), repeat("applied", 5)...)
	}
	wantRows(t, pool, `SELECT (SELECT count(*) FROM log_may) || ' ' || (SELECT count(*) FROM log_june)`, "5 5")
}

// TestAllRefusedThenAltered fixes a table that refuses all records.
func TestAllRefusedThenAltered(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `ALTER TABLE orders ADD cents int`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", MaxRefused: 5})
	l := &log{}
	var records []*versioning.Record
	for i := range 10 {
		records = append(records, l.set(key(i), "placed", versioning.Columns{"cents": "3000000000"}))
	}
	prepare(store, records)
	for range 2 {
		if _, err := store.Apply(t.Context(), "", records); !errors.Is(err, postgres.ErrAllRefused) {
			t.Fatalf("Apply = %v, want ErrAllRefused", err)
		}
	}
	mustExec(t, pool, `ALTER TABLE orders ALTER cents TYPE bigint`)
	wantVerdicts(t, apply(t, store, records...), repeat("applied", 10)...)
}

// TestRefusedAcrossAlterations checks that the count of refused records continues after
// the table is altered.
func TestRefusedAcrossAlterations(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", MaxRefused: 5})
	l := &log{}
	bad := func() *versioning.Record {
		return l.set(key(int(l.next)), "placed", versioning.Columns{"amount": 5000})
	}
	for i := range 5 {
		wantVerdicts(t, apply(t, store, bad()), "rejected constraint")
		mustExec(t, pool, fmt.Sprintf(`ALTER TABLE orders ADD x%d int`, i))
	}
	last := bad()
	store.Prepare(last)
	if _, err := store.Apply(t.Context(), "", []*versioning.Record{last}); !errors.Is(err, postgres.ErrAllRefused) {
		t.Errorf("Apply of the sixth = %v, want ErrAllRefused", err)
	}
}

// TestKeysNoLongerValid narrows the type of the key, so that keys of parked or prepared
// records become invalid.
func TestKeysNoLongerValid(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	l := &log{}
	parked := l.record(versioning.Change{Machine: "order", Key: "5", Event: "captured"}, versioning.Change{Machine: "order", Key: "abc", Event: "placed"})
	wantVerdicts(t, apply(t, store, l.say("1", "placed"), parked, l.say("xyz", "captured")), "applied", "early no_entity", "early no_entity")
	prepared := []*versioning.Record{l.say("no", "placed"), l.say("2", "placed")}
	prepare(store, prepared)
	mustExec(t, pool, `ALTER TABLE orders ALTER id TYPE bigint USING id::bigint`)
	wantVerdicts(t, apply(t, store, prepared...), "rejected invalid_key", "applied")
	result := apply(t, store, l.say("5", "placed"))
	wantVerdicts(t, result, "applied")
	if len(result.Released) != 1 || result.Released[0].Outcome.Reason != versioning.ReasonInvalidKey {
		t.Errorf("released %v, want the parked record for its key", result.Released)
	}
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Errorf("Sweep with a parked record for an invalid key: %v", err)
	}
	mustExec(t, pool, `UPDATE orders SET version = 7 WHERE id = 1`)
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		t.Errorf("Sweep: %v", err)
	}
}

// TestAppliedBeforeColumnsChanged redelivers records whose columns have changed since.
// They are duplicates: they have taken effect, whatever the table looks like now.
func TestAppliedBeforeColumnsChanged(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for ddl, set := range map[string]versioning.Columns{
		`ALTER TABLE orders DROP day`: {"day": at},
		`ALTER TABLE orders DROP day; ALTER TABLE orders ADD day date GENERATED ALWAYS AS (date '2026-05-06') STORED`: {"day": at},
		`ALTER TABLE orders ALTER day TYPE timestamptz`:                                                               {"day": at},
		`ALTER TABLE orders ALTER day TYPE text`:                                                                      {"day": at},
		`ALTER TABLE orders ALTER n TYPE numeric`:                                                                     {"n": 5},
		`ALTER TABLE orders ALTER n TYPE int USING 1`:                                                                 {"n": 1.5},
		`ALTER TABLE orders ALTER raw TYPE text USING 'x'`:                                                            {"raw": []byte{1, 2}},
		`ALTER TABLE orders ALTER doc TYPE json`:                                                                      {"doc": map[string]any{"a": 1, "b": []int{1}}},
		`ALTER TABLE orders ALTER doc TYPE text`:                                                                      {"doc": nil},
		`ALTER TABLE orders DROP doc`:                                                                                 {"doc": map[string]any{"a": 1}, "n": 3.25},
	} {
		t.Run(ddl, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, withOrders)
			mustExec(t, pool, `ALTER TABLE orders ADD day date, ADD n float8, ADD raw bytea, ADD doc jsonb`)
			store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			l := &log{}
			send := func() *versioning.Record {
				r := l.set("a", "placed", set)
				r.Changes[0].MessageID = "m1"
				return r
			}
			first := send()
			wantVerdicts(t, apply(t, store, first), "applied")
			mustExec(t, pool, ddl)
			store = open(t, pool, postgres.Table{Machine: order, Name: "orders"})
			again := &versioning.Record{Origin: first.Origin, Changes: send().Changes}
			wantVerdicts(t, apply(t, store, again, send()), "duplicate", "duplicate")
			wantRows(t, pool, `SELECT count(*)::text FROM pawl.dead_letters`, "0")
		})
	}
}

// TestParkedDigest checks that a parked record leaves the same digest as it would have
// left if it had not been parked.
func TestParkedDigest(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `ALTER TABLE orders ADD day date`)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	l := &log{}
	send := func(key string) *versioning.Record {
		r := l.set(key, "captured", versioning.Columns{"day": time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), "amount": 1.50})
		r.Changes[0].MessageID = "m-" + key
		return r
	}
	wantVerdicts(t, apply(t, store, send("late"), l.say("intime", "placed"), send("intime")), "early no_entity", "applied", "applied")
	wantVerdicts(t, apply(t, store, l.say("late", "placed")), "applied")
	wantRows(t, pool, `SELECT count(DISTINCT digest) || ' of ' || count(*) FROM pawl.transitions WHERE event = 'captured'`, "1 of 2")
	wantVerdicts(t, apply(t, store, send("late"), send("intime")), "duplicate", "duplicate")
}

// afterQuery calls f once, after the first query whose text contains part.
type afterQuery struct {
	part string
	f    func()
	once sync.Once
}

type foundKey struct{}

func (a *afterQuery) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, foundKey{}, strings.Contains(data.SQL, a.part))
}

func (a *afterQuery) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if found, _ := ctx.Value(foundKey{}).(bool); found {
		a.once.Do(a.f)
	}
}

// TestAttachedAtOpen attaches a partition while a store is being opened. The store must
// notice later changes to it.
func TestAttachedAtOpen(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	mustExec(t, pool, `
DROP TABLE orders;
CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL) PARTITION BY LIST (id);
CREATE TABLE late (LIKE orders);
CREATE TABLE audit (entity text, version bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO audit VALUES (new.id, new.version); RETURN NULL; END $$`)
	config := pool.Config()
	config.ConnConfig.Tracer = &afterQuery{part: "typelem", f: func() {
		mustExec(t, pool, `ALTER TABLE orders ATTACH PARTITION late FOR VALUES IN ('a')`)
	}}
	traced, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer traced.Close()
	store := open(t, traced, postgres.Table{Machine: order, Name: "orders"})
	mustExec(t, pool, `CREATE TRIGGER audit AFTER INSERT OR UPDATE ON late FOR EACH ROW EXECUTE FUNCTION audit()`)
	l := &log{}
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), l.say("a", "noted"), l.say("a", "noted")), repeat("applied", 3)...)
	wantRows(t, pool, `SELECT entity || version FROM audit ORDER BY version`, "a1", "a2", "a3")
}
