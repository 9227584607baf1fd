package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

const orderColumns = `(id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`

// tenants is a database with tables of two tenants. Each has a separate framework
// schema; one of them is also the schema of the tenant's table.
var tenants = testenv.Template("tenants", func(ctx context.Context, url string) error {
	ddl := `CREATE SCHEMA tenant_a; CREATE TABLE tenant_a.orders ` + orderColumns + `;
		CREATE SCHEMA tenant_b; CREATE TABLE tenant_b.orders ` + orderColumns
	return errors.Join(migrate.Up(ctx, url), migrate.UpIn(ctx, url, oddSchema),
		execute(ctx, url, ddl), migrate.UpIn(ctx, url, "tenant_b"))
})

// TestTenants checks that two tables of one machine in one database are independent:
// rows, history, parked records and dead letters, with the same keys and message IDs.
func TestTenants(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, tenants)
	a := openIn(t, pool, oddSchema, postgres.Table{Machine: order, Name: "tenant_a.orders"})
	b := openIn(t, pool, "tenant_b", postgres.Table{Machine: order, Name: "tenant_b.orders"})
	topics := map[*postgres.Store]byte{a: 1, b: 2}
	say := func(s *postgres.Store, offset int64, event string) string {
		t.Helper()
		r := (&log{}).say("1", "")
		r.Origin.TopicID[0], r.Origin.Offset = topics[s], offset
		r.Changes[0].Event, r.Changes[0].MessageID = statemachine.Event(event), fmt.Sprint("m", offset)
		return verdicts(apply(t, s, r).Outcomes)[0]
	}
	for i, step := range []struct {
		store       *postgres.Store
		offset      int64
		event, want string
	}{
		{a, 0, "captured", "early no_entity"},
		{b, 1, "placed", "applied"},
		{a, 1, "placed", "applied"}, // and captured
		{b, 0, "captured", "applied"},
		{a, 2, "nosuch", "rejected unknown_event"},
		{b, 2, "cancelled", "applied"},
		{a, 3, "shipped", "applied"},
		{b, 3, "shipped", "rejected illegal"},
	} {
		if got := say(step.store, step.offset, step.event); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	wantRows(t, pool, `SELECT state || ' ' || version FROM tenant_a.orders`, "shipped 3")
	wantRows(t, pool, `SELECT state || ' ' || version FROM tenant_b.orders`, "cancelled 3")
	wantRows(t, pool, in(oddSchema, `SELECT event FROM pawl.transitions ORDER BY version`), "placed", "captured", "shipped")
	wantRows(t, pool, `SELECT event FROM tenant_b.transitions ORDER BY version`, "placed", "captured", "cancelled")
	wantRows(t, pool, in(oddSchema, `SELECT reason FROM pawl.dead_letters`), "unknown_event")
	wantRows(t, pool, `SELECT reason FROM tenant_b.dead_letters`, "illegal")
	wantRows(t, pool, `SELECT machine FROM pawl.tables UNION ALL SELECT event FROM pawl.transitions`)
	wantRows(t, pool, in(oddSchema, `SELECT machine || ' ' || schema || ' ' || name FROM pawl.tables`), "order tenant_a orders")
}

// TestEverythingInAnotherSchema runs what the conformance suite leaves out in a
// database without a schema pawl.
func TestEverythingInAnotherSchema(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, inOddSchema)
	mustExec(t, pool, `CREATE TABLE orders `+orderColumns)
	store := openIn(t, pool, oddSchema, postgres.Table{Machine: order, Name: "orders", ParkFor: time.Nanosecond})
	var l log
	dead, early := l.say("a", "nosuch"), l.say("a", "shipped")
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), dead, early), "applied", "rejected unknown_event", "early not_yet")
	mustExec(t, pool, `UPDATE orders SET state = 'paid', version = version + 1`)
	if swept, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil || len(swept.Released) != 1 {
		t.Errorf("Sweep = %+v, %v; want one released", swept, err)
	}
	apply(t, store, l.say("b", "captured"))
	read := versioning.Reading{Partitions: []versioning.ReadPartition{{TopicID: [16]byte{1}}}, Pause: time.Minute}
	if _, err := store.Sweep(t.Context(), read); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	mustExec(t, pool, in(oddSchema, `UPDATE pawl.parked SET parked_at = now() - interval '25 hours'`))
	if swept, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil || swept.Expired != 1 {
		t.Errorf("Sweep = %+v, %v; want one expired", swept, err)
	}
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil || len(letters) != 2 {
		t.Fatalf("dead letters: %v, %v", letters, err)
	}
	decode := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: "a", Event: "delivered"}}, nil
	}
	if got, err := store.DryRedrive(t.Context(), letters[:1], decode); err != nil || got[0].Verdict != versioning.Applied {
		t.Errorf("DryRedrive = %v, %v", got, err)
	}
	if got, err := store.Redrive(t.Context(), letters[:1], decode); err != nil || got[0].Verdict != versioning.Applied {
		t.Errorf("Redrive = %v, %v", got, err)
	}
	again := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: "a", Event: "nosuch"}}, nil
	}
	if got, err := store.Redrive(t.Context(), letters[1:], again); err != nil || got[0].Verdict != versioning.Rejected {
		t.Errorf("Redrive without success = %v, %v", got, err)
	}
	n, err := store.CopyDeadLetters(t.Context(), map[string][]int32{"orders": {0}}, 9, func(_ context.Context, all []versioning.DeadLetter) (ids []int64, _ error) {
		for _, l := range all {
			ids = append(ids, l.ID)
		}
		return ids, nil
	})
	if n != 1 || err != nil {
		t.Errorf("CopyDeadLetters = %d, %v", n, err)
	}
	if parked, err := store.Parked(t.Context(), postgres.ParkedFilter{}); err != nil || len(parked) != 0 {
		t.Errorf("parked: %v, %v", parked, err)
	}
}

// TestOneMachineOneTable checks that Open rejects a second table for a machine in one
// schema, and says what to configure.
func TestOneMachineOneTable(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, tenants)
	other := postgres.Table{Machine: statemachine.MustCompile(statemachine.Definition{
		Name: "other", Version: 1, Terminal: statemachine.In("there"),
		Transitions: []statemachine.Transition{{Event: "made", To: "there"}},
	}), Name: "tenant_b.orders"}
	open(t, pool, postgres.Table{Machine: order, Name: "tenant_a.orders"})
	second := []postgres.Table{other, {Machine: order, Name: "tenant_b.orders"}}
	for range 2 {
		_, err := postgres.Open(t.Context(), pool, second...)
		refused, ok := errors.AsType[*postgres.MachineError](err)
		if !ok || *refused != (postgres.MachineError{
			Machine: "order", Table: `"tenant_b"."orders"`, Other: `"tenant_a"."orders"`, Schema: "pawl",
		}) || !errors.Is(err, postgres.ErrTable) {
			t.Fatalf("the second table of one machine: %v", err)
		}
		for _, part := range []string{`machine "order"`, "rename the machine", "--schema", "postgres.OpenIn", `"pawl".tables`} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: does not say %q", err, part)
			}
		}
	}
	wantRows(t, pool, `SELECT machine || ' ' || schema FROM pawl.tables`, "order tenant_a") // the other table is not registered either

	// The name is the table's own, whatever the search_path is.
	config := pool.Config()
	config.ConnConfig.RuntimeParams["search_path"] = "tenant_b"
	there, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if _, err := postgres.Open(t.Context(), there, postgres.Table{Machine: order, Name: "orders"}); !errors.Is(err, postgres.ErrTable) {
		t.Errorf("the second table, by its search_path: %v", err)
	}
	openIn(t, there, "tenant_b", postgres.Table{Machine: order, Name: "orders"})
}

func TestDroppedTables(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, tenants)
	table := func(name string) postgres.Table { return postgres.Table{Machine: order, Name: name} }
	wantNoted := func(want string) {
		t.Helper()
		wantRows(t, pool, `SELECT schema || '.' || name FROM pawl.tables`, want)
	}
	open(t, pool, table("tenant_a.orders"))
	wantNoted("tenant_a.orders")
	mustExec(t, pool, `ALTER TABLE tenant_a.orders RENAME TO "Odd.Orders"; ALTER SCHEMA tenant_a RENAME TO tenant`)
	mustExec(t, pool, `ALTER TABLE tenant."Odd.Orders" RENAME TO renamed`)
	open(t, pool, table("tenant.renamed"))
	wantNoted("tenant.renamed")
	if _, err := postgres.Open(t.Context(), pool, table("tenant_b.orders")); !errors.Is(err, postgres.ErrTable) {
		t.Errorf("a second table: %v", err)
	}
	mustExec(t, pool, `DROP TABLE tenant.renamed; CREATE VIEW tenant.renamed AS SELECT 1`)
	open(t, pool, table("tenant_b.orders"))
	wantNoted("tenant_b.orders")
}

// TestOpensAtOnce checks that if two tables are opened at the same time for one
// machine, for the first time, one of them is rejected.
func TestOpensAtOnce(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, tenants)
	for round := range 10 {
		mustExec(t, pool, `DELETE FROM pawl.tables`)
		if round%2 > 0 {
			mustExec(t, pool, `INSERT INTO pawl.tables VALUES ('order', 'tenant_a', 'gone')`)
		}
		var wait sync.WaitGroup
		opened := make(chan string, 8)
		for i := range 8 {
			name := []string{"tenant_a", "tenant_b"}[i%2]
			wait.Go(func() {
				_, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: name + ".orders"})
				switch {
				case err == nil:
					opened <- name
				case !errors.Is(err, postgres.ErrTable):
					t.Error(err)
				}
			})
		}
		wait.Wait()
		close(opened)
		noted := query(t, pool, `SELECT schema FROM pawl.tables`)
		n := 0
		for name := range opened {
			n++
			if len(noted) != 1 || noted[0] != name {
				t.Errorf("opened %s, registered %v", name, noted)
			}
		}
		if n != 4 {
			t.Errorf("%d opened, want 4", n)
		}
	}
}

func TestOpenInRefusesNames(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	table := postgres.Table{Machine: order, Name: "orders"}
	openIn(t, pool, "", table)
	for name, says := range map[string]string{
		strings.Repeat("x", 64): "64 bytes", "pg_mine": "reserved by PostgreSQL", "a\nb": "control characters", "nosuch": "pawl migrate up",
	} {
		_, err := postgres.OpenIn(t.Context(), pool, name, table)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("schema %q: %v, want an error that says %q", name, err, says)
		}
		if schema, ok := errors.AsType[*migrations.SchemaError](err); name == "nosuch" && (!ok || schema.Schema != "nosuch") {
			t.Errorf("schema %q: %v", name, err)
		}
	}
}

// TestWhoseErrors checks that errors are assigned by the store's framework schema,
// which may also contain the application's tables.
func TestWhoseErrors(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, tenants)
	mustExec(t, pool, `ALTER TABLE tenant_b.orders ADD note text CHECK (note <> 'bad');
		ALTER TABLE tenant_a.orders ADD note text`)
	b := openIn(t, pool, "tenant_b", postgres.Table{Machine: order, Name: "tenant_b.orders"})
	var l log
	wantVerdicts(t, apply(t, b, l.set("1", "placed", versioning.Columns{"note": "bad"}), l.say("1", "placed")), "rejected constraint", "applied")
	mustExec(t, pool, `UPDATE tenant_b.orders SET version = 0`)
	next := []*versioning.Record{l.say("1", "noted")}
	prepare(b, next)
	if _, err := b.Apply(t.Context(), "", next); err == nil || !strings.Contains(err.Error(), "framework table refuses") {
		t.Errorf("a step that is already in the history: %v", err)
	}

	mustExec(t, pool, `
CREATE FUNCTION drop_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER drop_write BEFORE INSERT ON tenant_a.orders FOR EACH ROW EXECUTE FUNCTION drop_write()`)
	a := openIn(t, pool, oddSchema, postgres.Table{Machine: order, Name: "tenant_a.orders"})
	next = []*versioning.Record{l.say("2", "placed")}
	prepare(a, next)
	if result, err := a.Apply(t.Context(), "", next); !errors.Is(err, versioning.ErrContended) {
		t.Errorf("a guard that finds no row: %+v, %v", result, err)
	}
	mustExec(t, pool, `DROP TRIGGER drop_write ON tenant_a.orders`)

	mustExec(t, pool, `
CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.version := old.version + 2; RETURN new; END $$;
CREATE TRIGGER count BEFORE UPDATE ON tenant_a.orders FOR EACH ROW EXECUTE FUNCTION counting()`)
	a = openIn(t, pool, oddSchema, postgres.Table{Machine: order, Name: "tenant_a.orders"})
	wantVerdicts(t, apply(t, a, l.say("2", "placed")), "applied")
	next = []*versioning.Record{l.say("2", "noted")}
	prepare(a, next)
	_, err := a.Apply(t.Context(), "", next)
	if problem, ok := errors.AsType[*postgres.TableError](err); !ok || problem.Column != "version" {
		t.Errorf("a trigger that counts versions: %v", err)
	}
}
