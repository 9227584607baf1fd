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
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// newerOrder has a state that order does not know.
var newerOrder = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 2,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "held", From: statemachine.In("pending"), To: "held"},
		{Event: "captured", From: statemachine.In("pending", "held"), To: "paid"},
		{Event: "noted", From: statemachine.In("pending"), To: "pending"},
		{Event: "shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "delivered", From: statemachine.In("shipped"), To: "delivered"},
		{Event: "cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("delivered", "cancelled"),
})

// TestUnknownState runs an old and a new worker at the same time, as during a
// deployment: records that the old one can't judge are parked, and the new one's sweep
// finds them.
func TestUnknownState(t *testing.T) {
	t.Parallel()
	pool, old := openOrders(t)
	newer := open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	var l log
	for _, key := range []string{"a", "b", "c"} {
		apply(t, newer, l.say(key, "placed"), l.say(key, "held"))
	}
	result := apply(t, old,
		l.say("a", "captured"),
		l.record(versioning.Change{Key: "b", Event: "captured", Expected: versioning.At(2)}),
		l.record(versioning.Change{Key: "c", Event: "captured"}, versioning.Change{Key: "d", Event: "placed"}))
	wantVerdicts(t, result, "early unknown_state", "early unknown_state", "early unknown_state")
	for _, store := range []*postgres.Store{old, newer} {
		if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
			t.Fatal(err)
		}
		if store == old {
			wantRows(t, pool, `SELECT DISTINCT state FROM orders`, "held")
		}
	}
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a paid", "b paid", "c paid", "d pending")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

// TestKeepUnknown checks that records of an unknown event become dead letters once they have
// waited for Table.KeepUnknown, and that what waits behind them is judged then.
func TestKeepUnknown(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", KeepUnknown: time.Minute})
	sweep := func(expired, released int) {
		t.Helper()
		swept, err := store.Sweep(t.Context(), versioning.Reading{})
		if err != nil {
			t.Fatal(err)
		}
		if swept.Expired != expired || len(swept.Released) != released {
			t.Errorf("Sweep = %+v, want %d expired and %d released", swept, expired, released)
		}
	}
	var l log
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), l.say("a", "held"), l.say("a", "captured")), "applied", "early unknown_event", "early behind_unknown")
	wantVerdicts(t, apply(t, store,
		l.record(versioning.Change{Machine: "order", Key: "b", Event: "placed"}, versioning.Change{Machine: "order", Key: "a", Event: "turned"}),
		l.say("c", "placed")), "early behind_unknown", "applied")
	sweep(0, 0)
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = parked_at - interval '59 s'`)
	sweep(0, 0)
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = parked_at - interval '1 s'`)
	sweep(1, 1)
	wantRows(t, pool, `SELECT concat_ws(' ', entity, event, verdict, reason, definition, detail) FROM pawl.dead_letters`,
		`a held rejected unknown_event 1 machine "order" version 1 has no event "held", and no version that has it was registered within 00:01:00`)
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a paid", "c pending")
	wantRows(t, pool, `SELECT concat_ws(' ', entity, reason) FROM pawl.parked`, "a unknown_event")
	sweep(1, 0)
	wantRows(t, pool, `SELECT concat_ws(' ', entity, event, reason) FROM pawl.dead_letters ORDER BY id DESC LIMIT 1`, "a turned unknown_event")
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

// TestKeepUnknownEnds checks that a redrive does not park a dead letter of an unknown event, that records
// do not stay when KeepUnknown is taken away, and that an older worker buries none for which a newer
// version was registered in time.
func TestKeepUnknownEnds(t *testing.T) {
	t.Parallel()
	pool, without := openOrders(t)
	with := open(t, pool, postgres.Table{Machine: order, Name: "orders", KeepUnknown: time.Minute})
	var l log
	sweep := func(store *postgres.Store) {
		t.Helper()
		if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
			t.Fatal(err)
		}
	}
	const parked = `SELECT concat_ws(' ', entity, reason) FROM pawl.parked`
	wantVerdicts(t, apply(t, without, l.say("a", "placed"), l.say("a", "nosuch")), "applied", "rejected unknown_event")
	letters, err := without.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	outcomes, err := with.Redrive(t.Context(), letters, func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: "a", Event: "nosuch"}}, nil
	})
	if err != nil || len(outcomes) != 1 || outcomes[0].Verdict != versioning.Rejected {
		t.Errorf("Redrive = %v, %v", outcomes, err)
	}
	wantRows(t, pool, parked)

	wantVerdicts(t, apply(t, with, l.say("b", "placed"), l.say("b", "nosuch")), "applied", "early unknown_event")
	sweep(without)
	wantRows(t, pool, parked)

	wantVerdicts(t, apply(t, with, l.say("c", "placed"), l.say("c", "held")), "applied", "early unknown_event")
	newer := open(t, pool, postgres.Table{Machine: newerOrder, Name: "orders"})
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = parked_at - interval '1 h'`)
	sweep(with)
	wantRows(t, pool, parked, "c newer_definition")
	sweep(newer)
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a pending", "b pending", "c held")
}

// TestUnknownEventGone removes a record with an unknown event, as an operator may, or a worker that
// is killed before it has judged what waits behind it. Another record must not overtake that.
func TestUnknownEventGone(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", KeepUnknown: time.Hour})
	var l log
	both := l.record(versioning.Change{Machine: "order", Key: "a", Event: "shipped"}, versioning.Change{Machine: "order", Key: "b", Event: "cancelled"})
	wantVerdicts(t, apply(t, store, l.say("a", "placed"), l.say("b", "placed"), l.say("b", "nosuch"), l.say("b", "captured"), both),
		"applied", "applied", "early unknown_event", "early behind_unknown", "early not_yet")
	mustExec(t, pool, `DELETE FROM pawl.parked WHERE reason = 'unknown_event'`)
	wantVerdicts(t, apply(t, store, l.say("a", "captured")), "applied")
	wantRows(t, pool, `SELECT concat_ws(' ', id, state, version) FROM orders ORDER BY id`, "a shipped 3", "b cancelled 3")
	wantRows(t, pool, `SELECT d::text FROM pawl.dead_letters AS d`)
	wantRows(t, pool, `SELECT p::text FROM pawl.parked AS p`)
}

// TestSweepUsesTheKey checks that a sweep looks up entities by an index, however large
// their table is and whatever the collation of its key is.
func TestSweepUsesTheKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		`text`, `text COLLATE "C"`, `text COLLATE "POSIX"`, `varchar(20)`, `varchar(20) COLLATE "C"`, `bigint`, `uuid`,
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, migrated)
			mustExec(t, pool, `CREATE TABLE orders (id `+key+` PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
			recorder := &recorder{}
			config := pool.Config()
			config.ConnConfig.Tracer = recorder
			recorded, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(recorded.Close)
			store := open(t, recorded, postgres.Table{Machine: order, Name: "orders"})
			if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
				t.Fatal(err)
			}
			sql, args := recorder.find(t, "SELECT DISTINCT p.entity")
			if plan := explain(t, pool, sql, args); strings.Contains(plan, "Seq Scan on orders") {
				t.Errorf("the sweep scans the whole table:\n%s", plan)
			}
		})
	}
}

// explain returns the plan of a statement, with sequential scans as the last resort.
func explain(t *testing.T, pool *pgxpool.Pool, sql string, args []any) string {
	t.Helper()
	var plan []string
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off`); err != nil {
			return err
		}
		rows, err := tx.Query(t.Context(), `EXPLAIN `+sql, args...)
		if err == nil {
			plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "\n")
}

// A recorder stores the statements of a pool.
type recorder struct {
	mu  sync.Mutex
	all []pgx.TraceQueryStartData
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, data)
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *recorder) find(t *testing.T, prefix string) (sql string, args []any) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, data := range r.all {
		if strings.HasPrefix(strings.TrimSpace(data.SQL), prefix) {
			return data.SQL, data.Args
		}
	}
	t.Fatalf("no statement that begins with %q was sent", prefix)
	return "", nil
}

// TestSweepContinues checks that an entity that can't be moved does not keep the sweep
// from processing the rest.
func TestSweepContinues(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	var l log
	for _, key := range []string{"a", "b"} {
		apply(t, store, l.say(key, "placed"), l.say(key, "shipped"))
	}
	apply(t, store, l.say("c", "shipped"))
	mustExec(t, pool, `UPDATE orders SET state = 'paid', version = 2;
UPDATE pawl.parked SET parked_at = now() - interval '25 hours' WHERE entity = 'c';
INSERT INTO pawl.caught_up (machine, topic_id, partition) VALUES ('order', gen_random_uuid(), 0);
CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW WHEN (old.id = 'a') EXECUTE FUNCTION drop_it()`)
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if !errors.Is(err, versioning.ErrContended) || len(swept.Released) != 1 || swept.Expired != 1 {
		t.Errorf("Sweep = %+v, %v; want one released, one expired and ErrContended", swept, err)
	}
	wantRows(t, pool, `SELECT id || ' ' || state FROM orders ORDER BY id`, "a paid", "b shipped")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`, "a")
}

// TestSweepTakesAll sweeps more entities than one statement of a sweep processes.
func TestSweepTakesAll(t *testing.T) {
	t.Parallel()
	const n = 1200
	pool, store := openOrders(t)
	var l log
	records := make([]*versioning.Record, n)
	for i := range records {
		records[i] = l.say(key(i), "captured")
	}
	wantVerdicts(t, apply(t, store, records...), repeat("early no_entity", n)...)
	mustExec(t, pool, `INSERT INTO orders (id, state, version) SELECT entity, 'pending', 1 FROM pawl.parked`)
	swept, err := store.Sweep(t.Context(), versioning.Reading{})
	if err != nil || len(swept.Released) != n {
		t.Errorf("Sweep released %d records, %v; want %d", len(swept.Released), err, n)
	}
	wantRows(t, pool, `SELECT DISTINCT state FROM orders`, "paid")
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
}

// TestExpiredInBetween lets a parked record expire between the reading and the writing
// of a batch: it becomes a dead letter, and is not applied too.
func TestExpiredInBetween(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	hooked, tr := traced(t, pool)
	var l log
	apply(t, store, l.say("a", "captured"))
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = now() - interval '25 hours';
INSERT INTO pawl.caught_up (machine, topic_id, partition) VALUES ('order', gen_random_uuid(), 0)`)
	tr.before(first(1, func() {
		if swept, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil || swept.Expired != 1 {
			t.Errorf("Sweep = %+v, %v; want one expired", swept, err)
		}
	}))
	result := apply(t, hooked, l.say("a", "placed"))
	wantVerdicts(t, result, "applied")
	if len(result.Released) != 0 {
		t.Errorf("released %+v", result.Released)
	}
	wantRows(t, pool, `SELECT state FROM orders`, "pending")
	wantRows(t, pool, `SELECT reason FROM pawl.dead_letters`, "parked_too_long")
}

// TestTiedInAChain releases parked records that form a chain over many entities: one
// transaction follows the chain for a few rounds, sweeps do the rest.
func TestTiedInAChain(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	const links = 8
	var l log
	for i := range links {
		wantVerdicts(t, apply(t, store, l.record(
			versioning.Change{Key: key(i), Event: "captured"}, versioning.Change{Key: key(i + 1), Event: "placed"},
		)), "early no_entity")
	}
	const paid = `SELECT count(*)::text FROM orders WHERE state = 'paid'`
	wantVerdicts(t, apply(t, store, l.say(key(0), "placed")), "applied")
	wantRows(t, pool, paid, "3")
	for range 2 {
		if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, pool, paid, fmt.Sprint(links))
	wantRows(t, pool, `SELECT entity FROM pawl.parked`)
}
