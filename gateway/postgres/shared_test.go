package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// beginAll calls Begin for one key many times at once and returns the errors.
func beginAll(ctx context.Context, b gateway.Backend, n int) []error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { _, _, errs[i] = b.Begin(ctx, gateway.Key{Value: "k"}) })
	}
	wait.Wait()
	return errs
}

// TestOutageIsShared sends requests with one key while there is no connection: they wait
// together, and no longer than they should.
func TestOutageIsShared(t *testing.T) {
	t.Parallel()
	pool := poolOf(t, testenv.Pool(t, migrated))
	const queue = 500 * time.Millisecond
	b := open(t, pool, postgres.Config{QueueTimeout: queue}).WithoutTransaction()
	var conns []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	start := time.Now()
	for _, err := range beginAll(t.Context(), b, 20) {
		if _, ok := errors.AsType[*gateway.UnavailableError](err); !ok {
			t.Errorf("Begin without a connection: %v", err)
		}
	}
	if took := time.Since(start); took > 10*queue {
		t.Errorf("20 requests waited for %v", took)
	}
	for _, conn := range conns {
		conn.Release()
	}
	run, _, err := b.Begin(t.Context(), gateway.Key{Value: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCollisionsAreShared sends requests with a key that another process has claimed: those
// that come at the same time share an answer.
func TestCollisionsAreShared(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	run, _, err := open(t, poolOf(t, direct), postgres.Config{}).WithoutTransaction().Begin(t.Context(), gateway.Key{Value: "k"})
	if err != nil {
		t.Fatal(err)
	}
	messages := &faults{} // counts them
	b := open(t, poolOf(t, direct, messages.use), postgres.Config{}).WithoutTransaction()
	messages.arm(0, false)
	const n = 500
	for _, err := range beginAll(t.Context(), b, n) {
		if !isInProgress(err) {
			t.Errorf("Begin with a claimed key: %v", err)
		}
	}
	messages.mu.Lock()
	sent := messages.sent
	messages.mu.Unlock()
	if sent > n/5 {
		t.Errorf("%d messages for %d collisions", sent, n)
	}
	if err := run.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCollisionsInProcess checks that requests whose key runs in the same process do not ask
// the database.
func TestCollisionsInProcess(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for name, kind := range kinds {
		pool := poolOf(t, direct)
		b := kind(open(t, pool, postgres.Config{}))
		run, _, err := b.Begin(t.Context(), gateway.Key{Value: name})
		if err != nil {
			t.Fatal(err)
		}
		before := pool.Stat().AcquireCount()
		for range 10 {
			if _, _, err := b.Begin(t.Context(), gateway.Key{Value: name}); !isInProgress(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := pool.Stat().AcquireCount() - before; n != 0 {
			t.Errorf("%s: 10 collisions took %d connections", name, n)
		}
		if err := run.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
