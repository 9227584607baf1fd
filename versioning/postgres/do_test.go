package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func toChange(key string, event statemachine.Event, id string, set versioning.Columns) versioning.Change {
	return versioning.Change{Machine: "order", Key: key, Event: event, MessageID: id, Set: set}
}

// Do returns the verdict. What it refuses leaves nothing behind.
func TestDo(t *testing.T) {
	t.Parallel()
	type columns = versioning.Columns
	pool, store := openOrders(t)
	for _, step := range []struct {
		changes []versioning.Change
		want    string
	}{
		{[]versioning.Change{toChange("a", "captured", "1", nil)}, "early no_entity"},
		{[]versioning.Change{toChange("a", "placed", "2", columns{"amount": 5000})}, "rejected constraint"},
		{[]versioning.Change{toChange("a", "placed", "2", columns{"nosuch": 1})}, "rejected invalid_column"},
		{[]versioning.Change{toChange("", "placed", "2", nil)}, "rejected invalid_key"},
		{[]versioning.Change{toChange("a", "plced", "2", nil)}, "rejected unknown_event"},
		{[]versioning.Change{toChange("a", "placed", "2", columns{"amount": 5})}, "applied"},
		{[]versioning.Change{toChange("a", "placed", "2", columns{"amount": 5})}, "duplicate"},
		{[]versioning.Change{toChange("a", "placed", "2", columns{"amount": 6})}, "diverged message_taken"},
		{[]versioning.Change{toChange("a", "placed", "3", nil)}, "rejected illegal"},
		{[]versioning.Change{toChange("a", "noted", "", nil)}, "applied"}, // without a message ID, each is new
		{[]versioning.Change{toChange("a", "noted", "", nil)}, "applied"},
		{[]versioning.Change{{Machine: "order", Key: "a", Event: "captured", Expected: versioning.At(1)}}, "diverged version_taken"},
		{[]versioning.Change{{Machine: "order", Key: "a", Event: "captured", Expected: versioning.At(3)}}, "applied"},
		{[]versioning.Change{{Machine: "order", Key: "a", Event: "captured", Expected: versioning.At(3)}}, "duplicate"},
		{[]versioning.Change{{Machine: "order", Key: "a", Event: "captured", Expected: versioning.At(3), Set: columns{"note": "x"}}}, "diverged version_taken"}, // another caller's
		{[]versioning.Change{toChange("a", "shipped", "4", nil), toChange("b", "captured", "4", nil)}, "early no_entity"},                                       // all or none
		{[]versioning.Change{toChange("a", "shipped", "4", nil), toChange("b", "placed", "4", nil)}, "applied"},
		{nil, "ignored"},
	} {
		before := fmt.Sprint(step.changes)
		outcome, err := store.Do(t.Context(), step.changes...)
		if err != nil {
			t.Fatal(err)
		}
		if got := verdicts([]versioning.Outcome{outcome})[0]; got != step.want {
			t.Errorf("%v: %s (%s), want %s", step.changes, got, outcome.Detail, step.want)
		}
		if after := fmt.Sprint(step.changes); after != before {
			t.Errorf("Do has changed the caller's changes from %s to %s", before, after)
		}
	}
	wantRows(t, pool, `SELECT id || ' ' || state || ' ' || version FROM orders ORDER BY id`, "a shipped 5", "b pending 1")
	wantRows(t, pool, `SELECT entity || ' ' || version || ' ' || topic FROM pawl.transitions ORDER BY entity, version`,
		"a 1 ", "a 2 ", "a 3 ", "a 4 ", "a 5 ", "b 1 ")
	wantRows(t, pool, `SELECT (SELECT count(*) FROM pawl.parked) || ' ' || (SELECT count(*) FROM pawl.dead_letters)`, "0 0")
}

// A change by Do and a record of a topic with the same message ID are one.
func TestDoAndApply(t *testing.T) {
	t.Parallel()
	_, store := openOrders(t)
	l := &log{}
	sent := l.record(toChange("a", "placed", "m1", nil))
	parked := l.record(toChange("a", "captured", "m2", nil))
	wantVerdicts(t, apply(t, store, parked), "early no_entity")
	mustDo(t, store, "applied", toChange("a", "placed", "m1", nil)) // releases m2
	wantVerdicts(t, apply(t, store, sent, l.record(toChange("a", "captured", "m2", nil))), "duplicate", "duplicate")
	mustDo(t, store, "duplicate", toChange("a", "captured", "m2", nil))
	wantVerdicts(t, apply(t, store, l.record(toChange("a", "shipped", "m3", nil))), "applied")
	mustDo(t, store, "duplicate", toChange("a", "shipped", "m3", nil))
}

func mustDo(t *testing.T, store *postgres.Store, want string, changes ...versioning.Change) {
	t.Helper()
	outcome, err := store.Do(t.Context(), changes...)
	if err != nil {
		t.Fatal(err)
	}
	if got := verdicts([]versioning.Outcome{outcome})[0]; got != want {
		t.Errorf("%v: %s (%s), want %s", changes, got, outcome.Detail, want)
	}
}

// Many callers at once: each change is made once, and they share transactions. Some are
// refused by PostgreSQL, which affects only their own callers.
func TestDoConcurrently(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	const callers, each = 32, 10
	var applied, refused atomic.Int32
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := range each {
				id := fmt.Sprintf("%d/%d", i, n)
				do(t, store, toChange("hot", "placed", "first", nil), "applied", "duplicate", &applied)
				do(t, store, toChange("hot", "noted", id, nil), "applied", "", &applied)
				do(t, store, toChange("hot", "noted", id, nil), "duplicate", "", nil)
				do(t, store, toChange(fmt.Sprint("own", i, n), "placed", id, versioning.Columns{"amount": 10 + n*300}), "applied", "rejected constraint", &applied)
				do(t, store, toChange(fmt.Sprint("own", i, n), "placed", id+"x", versioning.Columns{"amount": 5000}), "rejected constraint", "rejected illegal", &refused)
			}
		})
	}
	all.Wait()
	wantRows(t, pool, `SELECT version || ' ' || (SELECT count(*) FROM pawl.transitions WHERE entity = 'hot') FROM orders WHERE id = 'hot'`,
		fmt.Sprintf("%d %[1]d", 1+callers*each))
	wantRows(t, pool, `SELECT count(*) || ' ' || (SELECT count(*) FROM pawl.dead_letters) FROM orders WHERE id LIKE 'own%'`,
		fmt.Sprintf("%d 0", callers*4)) // 10, 310, 610 and 910 are below 1,000
	if want := int32(1 + callers*each + callers*4); applied.Load() != want {
		t.Errorf("%d applied, want %d", applied.Load(), want)
	}
	transactions := query(t, pool, `SELECT count(DISTINCT xmin::text)::text FROM pawl.transitions`)[0]
	t.Logf("%d steps in %s transactions", 1+callers*each+callers*4, transactions)
}

// do makes a change that must have one of two verdicts, and counts the first.
func do(t *testing.T, store *postgres.Store, change versioning.Change, first, second string, count *atomic.Int32) {
	outcome, err := store.Do(t.Context(), change)
	if err != nil {
		t.Error(err)
		return
	}
	switch got := verdicts([]versioning.Outcome{outcome})[0]; {
	case got == first && count != nil:
		count.Add(1)
	case got != first && got != second:
		t.Errorf("%v: %s (%s), want %s or %s", change, got, outcome.Detail, first, second)
	}
}

// begun returns a transaction of somebody else that has executed sql.
func begun(t *testing.T, pool *pgxpool.Pool, sql string) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	return tx
}

// awaitLock waits until a session waits for a lock.
func awaitLock(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error { return (&gate{pool: pool}).waiting(t, 1) })
}

// A row that somebody else has locked holds up only calls for its entity. A caller that gives
// up learns later what has become of its change.
func TestDoWhileLocked(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustDo(t, store, "applied", toChange("a", "placed", "1", nil))
	tx := begun(t, pool, `SELECT FROM orders WHERE id = 'a' FOR UPDATE`)
	patient := make(chan error, 1)
	go func() {
		_, err := store.Do(t.Context(), toChange("a", "captured", "2", nil))
		patient <- err
	}()
	awaitLock(t, pool)
	for i := range 20 {
		mustDo(t, store, "applied", toChange(key(i), "placed", "1", nil))
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := store.Do(soon, toChange("a", "shipped", "3", nil)); errors.Is(err, versioning.ErrFateUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind the call that waits: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-patient; err != nil {
		t.Error(err)
	}
	mustDo(t, store, "duplicate", toChange("a", "captured", "2", nil))
}

// The only caller of a batch that waits for a lock gives up. PostgreSQL may commit it all the
// same, once the lock is free, but asking again tells.
func TestDoGivesUp(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustDo(t, store, "applied", toChange("a", "placed", "1", nil))
	tx := begun(t, pool, `SELECT FROM orders WHERE id = 'a' FOR UPDATE`)
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := store.Do(soon, toChange("a", "captured", "2", nil))
	if !errors.Is(err, versioning.ErrFateUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, store, toChange("a", "captured", "2", nil), "applied", "duplicate", nil)
	wantRows(t, pool, `SELECT state || ' ' || version FROM orders`, "paid 2")
}

// Refusals of calls do not make the store suspect the table: their callers get the reasons.
func TestDoIsRefusedAgainAndAgain(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders", MaxRefused: 2})
	for i := range 10 {
		mustDo(t, store, "rejected constraint", toChange(key(i), "placed", "1", versioning.Columns{"amount": 5000}))
	}
}

// The answer to the COMMIT is lost. Asking again tells that the change was made.
func TestDoLosesItsAnswer(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr, armed, lost := deaf(t, pool)
	tr.before(first(1, func() { armed.Store(true) }))
	_, err := store.Do(t.Context(), toChange("a", "placed", "1", nil))
	if !errors.Is(err, versioning.ErrFateUnknown) || versioning.CauseOf(err) != versioning.Infrastructure || lost.Load() != 1 {
		t.Errorf("got %v; %d answers were lost, want 1", err, lost.Load())
	}
	mustDo(t, store, "duplicate", toChange("a", "placed", "1", nil))
}

// Do refuses nothing because of what the store knew about a table before it was altered.
func TestDoAfterAlter(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustDo(t, store, "rejected invalid_column", toChange("a", "placed", "1", versioning.Columns{"extra": 1}))
	mustExec(t, pool, `ALTER TABLE orders ADD extra int`)
	mustDo(t, store, "applied", toChange("a", "placed", "1", versioning.Columns{"extra": 1}))
	mustExec(t, pool, `ALTER TABLE orders DROP CONSTRAINT orders_amount_check`)
	mustDo(t, store, "applied", toChange("b", "placed", "1", versioning.Columns{"amount": 5000}))
}

// A refused change waits for a transaction that is about to make it legal.
func TestDoRefusesWithTheRowLocked(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	mustDo(t, store, "applied", toChange("a", "placed", "1", nil))
	tx := begun(t, pool, `UPDATE orders SET state = 'paid', version = 2 WHERE id = 'a'`)
	done := make(chan string, 1)
	go func() {
		outcome, err := store.Do(t.Context(), toChange("a", "shipped", "2", nil))
		done <- fmt.Sprint(outcome.Verdict, " ", err)
	}()
	awaitLock(t, pool)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != "applied <nil>" {
		t.Error(got)
	}
}

type visit struct {
	At time.Time `db:"at"`
}

// Functions get the time of the call.
func TestDoTellsTheTime(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, migrated)
	mustExec(t, pool, `CREATE TABLE visits (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, at timestamptz NOT NULL)`)
	machine := statemachine.MustCompile(statemachine.Definition{Name: "visit", Version: 1, Transitions: []statemachine.Transition{{
		Event: "came", To: "here",
		Do: statemachine.Do(func(f *statemachine.Firing, row *visit, _ struct{}) error {
			row.At = f.Time
			return nil
		}),
	}}, Terminal: statemachine.In("here")})
	store := open(t, pool, postgres.Table{Machine: machine, Name: "visits"})
	mustDo(t, store, "applied", versioning.Change{Key: "a", Event: "came", MessageID: "1"})
	wantRows(t, pool, `SELECT (at BETWEEN now() - interval '1 hour' AND now() + interval '1 hour')::text FROM visits`, "true")
	mustDo(t, store, "duplicate", versioning.Change{Key: "a", Event: "came", MessageID: "1"}) // at another time
}

// Several callers share a batch, and somebody else has locked the row of one of them. After
// lock_timeout the others get what they asked for.
func TestDoGatheredWithALockedRow(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "1s" })
	keys := []string{"b0", "b1", "b2", "b3", "hot", "c0", "c1", "c2", "c3"}
	for _, key := range keys {
		mustDo(t, store, "applied", toChange(key, "placed", "1", nil))
	}
	busy := begun(t, pool, `SELECT FROM orders WHERE id LIKE 'b%' FOR UPDATE`)
	hot := begun(t, pool, `SELECT FROM orders WHERE id = 'hot' FOR UPDATE`)
	var all sync.WaitGroup
	outcomes, errs := make([]versioning.Outcome, len(keys)), make([]error, len(keys))
	call := func(i int) {
		all.Go(func() {
			outcomes[i], errs[i] = store.Do(t.Context(), toChange(keys[i], "captured", "2", nil))
		})
	}
	for i := range 4 { // as many batches as run at a time
		call(i)
		testenv.Eventually(t, 10*time.Second, func() error { return (&gate{pool: pool}).waiting(t, i+1) })
	}
	for i := 4; i < len(keys); i++ {
		call(i)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := store.Queued(); n != 5 {
			return fmt.Errorf("%d calls wait, want 5", n)
		}
		return nil
	})
	if err := busy.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for i, key := range keys {
		switch {
		case key == "hot":
			if err := errs[i]; err == nil || errors.Is(err, versioning.ErrFateUnknown) || !errors.Is(err, versioning.ErrInfrastructure) {
				t.Errorf("%s: %v, %v; want an error that says that nothing was changed", key, outcomes[i], err)
			}
		case errs[i] != nil || outcomes[i].Verdict != versioning.Applied:
			t.Errorf("%s: %v, %v", key, outcomes[i], errs[i])
		}
	}
	if err := hot.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustDo(t, store, "applied", toChange("hot", "captured", "2", nil))
}

// PostgreSQL rolls back the transaction of a call, a few times or each time.
func TestDoIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "40P01"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			pool, store := openOrders(t)
			mustExec(t, pool, `CREATE SEQUENCE tries`)
			mustExec(t, pool, `
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('tries') < new.amount THEN RAISE EXCEPTION 'try again' USING ERRCODE = '`+code+`'; END IF;
	RETURN new; END $$;
CREATE TRIGGER fail BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION fail()`)
			mustDo(t, store, "applied", toChange("z", "placed", "1", versioning.Columns{"amount": 0}))
			mustExec(t, pool, `SELECT setval('tries', 1, false)`)
			mustDo(t, store, "applied", toChange("a", "placed", "1", versioning.Columns{"amount": 5}))
			wantRows(t, pool, `SELECT last_value::text FROM tries`, "5")
			_, err := store.Do(t.Context(), toChange("b", "placed", "1", versioning.Columns{"amount": 100}))
			if err == nil || errors.Is(err, versioning.ErrFateUnknown) || !errors.Is(err, versioning.ErrInfrastructure) {
				t.Errorf("got %v; want an error that says that nothing was changed", err)
			}
			wantRows(t, pool, `SELECT id FROM orders ORDER BY id`, "a", "z")
			wantRows(t, pool, `SELECT last_value::text FROM tries`, "10")
		})
	}
}

// A beginTracer calls a function before the second transaction of a pool begins.
type beginTracer struct {
	tracer

	armed  atomic.Bool
	begun  atomic.Int32
	second func()
}

func (tr *beginTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	begins := func(q *pgx.QueuedQuery) bool { return strings.HasPrefix(q.SQL, "BEGIN") }
	if tr.armed.Load() && slices.ContainsFunc(data.Batch.QueuedQueries, begins) && tr.begun.Add(1) == 2 {
		tr.second()
	}
	return tr.tracer.TraceBatchStart(ctx, conn, data)
}

// A table is altered after the store has looked at it, and before it tells a caller that the
// change is refused.
func TestDoRefusesWithTheTableLocked(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	tr := &beginTracer{second: func() { mustExec(t, pool, `ALTER TABLE orders ADD extra int`) }}
	store, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.Tracer = tr })
	tr.armed.Store(true)
	mustDo(t, store, "applied", toChange("a", "placed", "1", versioning.Columns{"extra": 1}))
	if n := tr.begun.Load(); n < 3 {
		t.Errorf("%d transactions; want two that refuse, and one with the altered table", n)
	}
}
