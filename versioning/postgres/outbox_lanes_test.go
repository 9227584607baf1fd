package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A holder holds lanes like a relay.
type holder struct {
	mu        sync.Mutex
	lanes     map[int]bool
	woken     int
	connected int
}

func (h *holder) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connected++
}

func (h *holder) Take(lane int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lanes == nil {
		h.lanes = make(map[int]bool)
	}
	h.lanes[lane] = true
}

func (h *holder) Release(lane int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.lanes, lane)
}

func (h *holder) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.woken++
}

func (h *holder) held() (lanes []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for lane := range h.lanes {
		lanes = append(lanes, lane)
	}
	slices.Sort(lanes)
	return lanes
}

// hold lets a store hold lanes. end ends that, and returns the error.
func hold(t *testing.T, store *postgres.Store, h *holder) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.HoldLanes(ctx, h) }()
	var err error
	ended := sync.OnceFunc(func() {
		cancel()
		err = <-done
	})
	t.Cleanup(ended)
	return func() error {
		ended()
		return err
	}
}

func awaitHeld(t *testing.T, want string, holders ...*holder) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		var counts []int
		var all []int
		for _, h := range holders {
			lanes := h.held()
			counts, all = append(counts, len(lanes)), append(all, lanes...)
		}
		slices.Sort(all)
		if n := len(all); n != len(slices.Compact(all)) {
			t.Errorf("a lane is held twice: %v", counts)
		}
		if got := fmt.Sprint(counts); got != want {
			return fmt.Errorf("lanes: %s, not %s", got, want)
		}
		return nil
	})
}

// TestHoldLanes checks how relays share the lanes: as they come, as they leave, and as their
// connections are lost.
func TestHoldLanes(t *testing.T) {
	t.Parallel()
	pool, first := openNotes(t, postgres.Table{})
	table := postgres.Table{Machine: noting, Name: "thing"}
	second, third := open(t, pool, table), open(t, pool, table)
	var a, b, c holder
	endA := hold(t, first, &a)
	awaitHeld(t, "[16]", &a)
	if err := first.HoldLanes(t.Context(), &c); err == nil {
		t.Error("a store holds lanes for two relays")
	}
	endB := hold(t, second, &b)
	awaitHeld(t, "[8 8]", &a, &b)
	endC := hold(t, third, &c)
	awaitHeld(t, "[6 6 4]", &a, &b, &c)
	if err := endA(); err != nil || len(a.held()) > 0 {
		t.Errorf("HoldLanes = %v, with lanes %v", err, a.held())
	}
	awaitHeld(t, "[8 8]", &b, &c)
	// The other connections of the server belong to other tests.
	mustExec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle in transaction' ORDER BY backend_start LIMIT 1`)
	awaitHeld(t, "[16]", &c)
	if err := endB(); !errors.Is(err, postgres.ErrLanesLost) || versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("HoldLanes = %v after its connection was lost", err)
	}
	if err := endC(); err != nil {
		t.Error(err)
	}
	if a.connected != 1 || b.connected != 1 || c.connected != 1 {
		t.Errorf("the relays were told %d, %d and %d times that they are connected", a.connected, b.connected, c.connected)
	}
}

// TestHoldLanesHoldsNothingElse checks that the transaction that holds the lanes has neither a
// snapshot nor the lock of a table.
func TestHoldLanesHoldsNothingElse(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	var h holder
	hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	testenv.Eventually(t, 10*time.Second, func() error {
		var n, snapshots, tables int
		err := pool.QueryRow(t.Context(), `
SELECT count(*), count(backend_xmin), count(backend_xid) + (SELECT count(*) FROM pg_locks AS l WHERE l.pid = ANY (array_agg(a.pid)) AND locktype = 'relation')
FROM pg_stat_activity AS a WHERE datname = current_database() AND state = 'idle in transaction'`).Scan(&n, &snapshots, &tables)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d idle transactions, not 1", n)
		}
		if err == nil && snapshots+tables > 0 {
			err = fmt.Errorf("%d snapshots, %d tables or transaction IDs", snapshots, tables)
		}
		return err
	})
}

// TestRecentPacks checks that the relay gets what its process has just committed from memory,
// at its place among the packs of others, and only if it holds the lane.
func TestRecentPacks(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	other := open(t, pool, postgres.Table{Machine: noting, Name: "thing"})
	var h holder
	end := hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	var l log
	apply(t, other, l.did("a", "made", 1))
	apply(t, store, l.did("a", "did", 2))
	apply(t, other, l.did("a", "did", 3))
	apply(t, store, l.did("a", "did", 4))
	h.mu.Lock()
	if h.woken < 2 {
		t.Errorf("the relay was woken %d times", h.woken)
	}
	h.mu.Unlock()
	// What is in memory is not read from the database.
	mustExec(t, pool, `UPDATE pawl.outbox SET messages = '\x' WHERE id % 2 = 0`)
	packs := packsOf(t, store, allLanes()...)
	if got := fmt.Sprint(valuesOf(packs)); got != "[a=1 a=2 a=3 a=4]" {
		t.Errorf("messages: %s", got)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	// Then all is read from the database.
	if _, err := store.Packs(t.Context(), allLanes()); err == nil {
		t.Error("a pack is still in memory")
	}
}

// wantRecent checks how many packs a store has in memory.
func wantRecent(t *testing.T, when string, store *postgres.Store, want int) {
	t.Helper()
	if n, bytes := postgres.RecentPacks(store); n != want || n == 0 && bytes != 0 {
		t.Errorf("%s: %d packs with %d bytes are in memory, not %d packs", when, n, bytes, want)
	}
}

// TestStaleRecentPacks checks that packs that the relay has read from the database before they
// are offered to it do not stay in memory.
func TestStaleRecentPacks(t *testing.T) {
	t.Parallel()
	_, store := openNotes(t, postgres.Table{})
	var l log
	apply(t, store, l.did("a", "made", 1), l.did("b", "made", 2), l.did("c", "made", 3), l.did("d", "made", 4))
	packs := packsOf(t, store, allLanes()...) // from the database: the store does not hold the lanes yet
	var h holder
	hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	offer := func(some ...versioning.Pack) {
		t.Helper()
		before, _ := postgres.RecentPacks(store)
		for _, p := range some {
			postgres.OfferPack(store, p.PackRef, []byte("its messages"))
		}
		wantRecent(t, "offered", store, before+len(some))
	}
	offer(packs...)
	if len(packs) != 4 {
		t.Fatalf("%d packs, not 4", len(packs))
	}
	if err := store.DeletePacks(t.Context(), refs(packs[:1]), false); err != nil {
		t.Fatal(err)
	}
	wantRecent(t, "DeletePacks", store, 3)
	if _, err := store.DeleteTokens(t.Context(), packs[1].Lane, []int64{packs[1].Token}); err != nil {
		t.Fatal(err)
	}
	wantRecent(t, "DeleteTokens", store, 2)
	m := packs[2].Messages
	if _, ok, err := store.RefuseMessages(t.Context(), packs[2].PackRef, []versioning.Refused{{Emitted: m[0], Reason: "X"}}, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	wantRecent(t, "RefuseMessages", store, 1)
	if err := store.DeletePacks(t.Context(), refs(packs[3:]), false); err != nil {
		t.Fatal(err)
	}
	wantRecent(t, "all deleted", store, 0)
	offer(packs...) // too late
	postgres.AgePacks(store, time.Minute)
	apply(t, store, l.did("e", "made", 5))
	wantRecent(t, "after a minute, a new one", store, 1)
	if got := fmt.Sprint(valuesOf(packsOf(t, store, allLanes()...))); got != "[e=5]" {
		t.Errorf("messages: %s", got)
	}
	wantRecent(t, "taken", store, 0)
}

// TestRecentPackWithOldToken checks that a pack in memory whose row has another token by now
// does not hide the row. That is so if the answer to RefuseMessages was lost, or after a
// restore.
func TestRecentPackWithOldToken(t *testing.T) {
	t.Parallel()
	pool, store := openNotes(t, postgres.Table{})
	var h holder
	hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	var l log
	apply(t, store, l.did("a", "made", 1))
	apply(t, store, l.did("a", "did", 2))
	mustExec(t, pool, `UPDATE pawl.outbox SET token = token + 1 WHERE id = (SELECT min(id) FROM pawl.outbox)`)
	var got []string
	for range 2 { // the first call may find out
		got = valuesOf(packsOf(t, store, allLanes()...))
	}
	if fmt.Sprint(got) != "[a=1 a=2]" {
		t.Errorf("messages: %s", got)
	}
}

// TestPacksWithoutThePool checks that a relay reads the outbox although batches use all
// connections of the pool, also after its own connection was lost.
func TestPacksWithoutThePool(t *testing.T) {
	t.Parallel()
	pool, _ := openNotes(t, postgres.Table{})
	config := pool.Config()
	config.MaxConns = 1
	small, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(small.Close)
	store := open(t, small, postgres.Table{Machine: noting, Name: "thing"})
	var h holder
	end := hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	var l log
	apply(t, store, l.did("a", "made", 1))
	busy, err := small.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func() ([]versioning.Pack, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return store.Packs(ctx, allLanes())
	}
	if packs, err := read(); err != nil || fmt.Sprint(valuesOf(packs)) != "[a=1]" {
		t.Errorf("packs %v, %v", valuesOf(packs), err)
	}
	mustExec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle' AND query = 'COMMIT' AND pid <> `+fmt.Sprint(busy.Conn().PgConn().PID()))
	if _, err := read(); versioning.CauseOf(err) != versioning.Infrastructure {
		t.Errorf("a read on a connection that was lost: %v", err)
	}
	if packs, err := read(); err != nil || fmt.Sprint(valuesOf(packs)) != "[a=1]" {
		t.Errorf("packs %v, %v; on a new connection", valuesOf(packs), err)
	}
	busy.Release()
	if err := end(); err != nil {
		t.Error(err)
	}
	if packs, err := read(); err != nil || len(packs) != 1 {
		t.Errorf("packs %v, %v; after the relay has stopped", valuesOf(packs), err)
	}
}

// TestRelayRights checks that a role that may not truncate gets an error that says so.
func TestRelayRights(t *testing.T) {
	t.Parallel()
	pool, _ := openNotes(t, postgres.Table{})
	restricted, role := asRole(t, pool)
	for _, grant := range grantLine.FindAllString(security(t), -1) {
		mustExec(t, pool, replaceWorker(strings.ReplaceAll(grant, " ON orders", " ON thing"), role))
	}
	store := open(t, restricted, postgres.Table{Machine: noting, Name: "thing"})
	var h holder
	end := hold(t, store, &h)
	awaitHeld(t, "[16]", &h)
	var l log
	apply(t, store, l.did("a", "made", 1), l.did("a", "did", 2))
	pack := packsOf(t, store, allLanes()...)[0]
	left, _, err := store.RefuseMessages(t.Context(), pack.PackRef, []versioning.Refused{{Emitted: pack.Messages[0], Reason: "X"}}, pack.Messages[1:])
	if err != nil {
		t.Error(err)
	}
	unsent, err := store.Unsent(t.Context(), postgres.UnsentFilter{})
	if err != nil || len(unsent) != 1 {
		t.Fatal(unsent, err)
	}
	if n, err := store.Resend(t.Context(), unsent[0].ID); n != 1 || err != nil {
		t.Error(n, err)
	}
	for i, ref := range []versioning.PackRef{pack.PackRef, left.PackRef} { // the first one is another pack now
		if err := store.DeletePacks(t.Context(), []versioning.PackRef{ref}, i > 0); err != nil {
			t.Error(err)
		}
		depth, err := store.OutboxDepth(t.Context())
		if want := int64(2 - i); depth.Packs != want || err != nil {
			t.Errorf("%+v, %v; want %d packs", depth, err, want)
		}
	}
	mustExec(t, pool, `INSERT INTO pawl.outbox (token, slot, lane, n, messages) SELECT 1, s, 0, 1, '' FROM generate_series(0, 7) AS s; DELETE FROM pawl.outbox`)
	if n, err := store.TruncateOutbox(t.Context()); n < 6 || err != nil {
		t.Errorf("TruncateOutbox = %d, %v", n, err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	mustExec(t, pool, `REVOKE TRUNCATE ON pawl.outbox_3 FROM `+role)
	err = store.HoldLanes(t.Context(), &h)
	if versioning.CauseOf(err) != versioning.Fatal || len(problemsOf(err)) != 1 || problemsOf(err)[0] != "pawl.outbox_3" {
		t.Errorf("HoldLanes = %v", err)
	}
}
