package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// withoutAge compares counts, but not what the clock decides.
var withoutAge = cmp.Options{cmpopts.IgnoreFields(versioning.MachineCounts{}, "ParkedAge"), cmpopts.IgnoreFields(versioning.OutboxDepth{}, "Age", "Oldest")}

// TestCountStored counts what waits, by machine, with limits.
func TestCountStored(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	store := open(t, pool, postgres.Table{Machine: order, Name: "orders"})
	l := &log{}
	bad := l.record()
	bad.Err = errors.New("no JSON")
	apply(t, store, l.say("a", "captured"), l.say("b", "captured"), l.say("c", "placed"), l.say("c", "placed"), bad)
	mustExec(t, pool, `UPDATE pawl.parked SET parked_at = now() - interval '1 hour' WHERE entity = 'b'`)
	counts, err := store.CountStored(t.Context())
	want := versioning.StoredCounts{Machines: []versioning.MachineCounts{{Machine: "order", Parked: 2, DeadLetters: 1}, {DeadLetters: 1}}}
	if diff := cmp.Diff(want, counts, withoutAge); err != nil || diff != "" {
		t.Errorf("CountStored: %v (-want, +got):\n%s", err, diff)
	}
	if age := counts.Machines[0].ParkedAge; age < time.Hour || age > time.Hour+time.Minute {
		t.Errorf("the oldest parked record waits for %v, want an hour", age)
	}
	if age := counts.Machines[1].ParkedAge; age != 0 {
		t.Errorf("a machine without parked records has an age of %v", age)
	}

	mustExec(t, pool, `INSERT INTO pawl.dead_letters OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(d, jsonb_build_object('offset', n, 'id', 1000 + n))).*
		FROM pawl.dead_letters AS d, generate_series(1000, 11000) AS n WHERE d.machine = 'order'`)
	counts, err = store.CountStored(t.Context())
	want.Machines[0].DeadLetters, want.Machines[0].AtLeast = 10_000, true
	if diff := cmp.Diff(want, counts, withoutAge); err != nil || diff != "" {
		t.Errorf("CountStored of many: %v (-want, +got):\n%s", err, diff)
	}
}

// TestCountOutbox counts messages. The role of the second store has no right to read unsent ones.
func TestCountOutbox(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	shouts := open(t, pool, postgres.Table{Machine: shouter, Name: "orders"})
	l := &log{}
	apply(t, shouts, l.say("a", "placed"), l.say("b", "placed"), l.say("c", "placed"))
	mustExec(t, pool, `UPDATE pawl.outbox SET at = now() - interval '1 hour' WHERE lane = (SELECT min(lane) FROM pawl.outbox)`)
	entity := versioning.Entity{Machine: "order", Key: "a"}
	packs, err := shouts.Packs(t.Context(), []versioning.Wanted{{Lane: versioning.LaneOf(entity)}})
	if err != nil {
		t.Fatal(err)
	}
	pack := packs[0]
	refused := []versioning.Refused{{Emitted: pack.Messages[0], Reason: "X"}}
	if _, _, err := shouts.RefuseMessages(t.Context(), pack.PackRef, refused, pack.Messages[1:]); err != nil {
		t.Fatal(err)
	}
	depth, err := shouts.OutboxDepth(t.Context())
	if err != nil || depth.Unsent != 1 || depth.Messages != 2 {
		t.Fatalf("OutboxDepth = %+v, %v; want 2 messages and an unsent one", depth, err)
	}
	counts, err := shouts.CountStored(t.Context())
	if diff := cmp.Diff(depth, counts.Outbox, withoutAge); err != nil || diff != "" || counts.OutboxAtLeast {
		t.Errorf("CountStored: %v (-depth, +counted):\n%s", err, diff)
	}
	if !counts.Outbox.Oldest.Equal(depth.Oldest) || counts.Outbox.Age < depth.Age {
		t.Errorf("the oldest pack is of %v, %v old; want %v and %v", counts.Outbox.Oldest, counts.Outbox.Age, depth.Oldest, depth.Age)
	}
	restricted, role := asRole(t, pool)
	mustExec(t, pool, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pawl, public TO `+role)
	mustExec(t, pool, `REVOKE ALL ON pawl.unsent FROM `+role)
	mustExec(t, pool, `GRANT USAGE ON SCHEMA pawl TO `+role)
	mustExec(t, pool, `GRANT USAGE ON ALL SEQUENCES IN SCHEMA pawl TO `+role)
	counts, err = open(t, restricted, postgres.Table{Machine: shouter, Name: "orders"}).CountStored(t.Context())
	if err != nil || counts.Outbox.Messages != 2 || counts.Outbox.Unsent != 0 {
		t.Errorf("CountStored without a right = %+v, %v", counts, err)
	}
}

// TestContended counts how often another writer was in the way, and nothing else.
func TestContended(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	l := &log{}
	apply(t, store, l.say("a", "placed"), l.say("a", "placed")) // a dead letter needs another lock
	if n := store.Contended(); n != 0 {
		t.Errorf("contended %d times without another writer", n)
	}
	hooked, tr := traced(t, pool)
	tr.before(first(1, func() { apply(t, store, l.say("a", "noted")) }))
	apply(t, hooked, l.say("a", "captured"))
	if n := hooked.Contended(); n != 1 { // the second attempt has locked the row
		t.Errorf("contended %d times, want 1", n)
	}
}

// TestPassHeaders checks that the headers of a trace get from a record, also a parked one, into
// the outbox.
func TestPassHeaders(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withOrders)
	talker := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending"},
			{Event: "captured", From: statemachine.In("pending"), To: "paid", Do: statemachine.Do(func(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
				f.Emit("ledger", f.Key)
				return nil
			})},
		},
		Terminal: statemachine.In("paid"),
	})
	store := open(t, pool, postgres.Table{Machine: talker, Name: "orders", PassHeaders: versioning.TraceHeaders()})
	l := &log{}
	early := l.say("a", "captured")
	early.Headers = []versioning.Header{{Key: "x", Value: []byte("y")}, {Key: "traceparent", Value: []byte("00-1-2-01")}}
	apply(t, store, early)
	apply(t, store, l.say("a", "placed"))
	packs, err := store.Packs(t.Context(), []versioning.Wanted{{Lane: versioning.LaneOf(versioning.Entity{Machine: "order", Key: "a"})}})
	if err != nil || len(packs) != 1 {
		t.Fatalf("%d packs, %v", len(packs), err)
	}
	want := []versioning.Header{{Key: "traceparent", Value: []byte("00-1-2-01")}}
	if diff := cmp.Diff(want, packs[0].Messages[0].Headers); diff != "" {
		t.Errorf("headers (-want, +got):\n%s", diff)
	}
	for _, key := range []string{"", "ce_id", "Content-Type", "a\x00"} {
		if _, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: talker, Name: "orders", PassHeaders: []string{key}}); err == nil {
			t.Errorf("a store that passes the header %q was opened", key)
		}
	}
}

// What waits in the framework's tables, and how often other writers were in the way. Both are for
// metrics.
func ExampleStore_CountStored() {
	ctx := context.Background()
	store, closePool := openShop(ctx)
	defer closePool()
	settle(ctx, store, asked(0, "42", "captured"), asked(1, "43", "misspelt"))
	counts, err := store.CountStored(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range counts.Machines {
		fmt.Printf("%q: %d parked, %d dead letters\n", m.Machine, m.Parked, m.DeadLetters)
	}
	fmt.Println("contended:", store.Contended())
	// Output:
	// orders/0@0 early
	// orders/0@1 rejected
	// "order": 1 parked, 1 dead letters
	// "": 0 parked, 0 dead letters
	// contended: 0
}
