package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// TestKeeper checks what the session that holds the locks holds beside them: no snapshot, no
// lock of a table; and nothing at all once the last run has ended.
func TestKeeper(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	b := open(t, pool, postgres.Config{}).WithoutTransaction()
	runs := make([]gateway.Run, 20)
	for i := range runs {
		var err error
		if runs[i], _, err = b.Begin(t.Context(), gateway.Key{Value: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := pool.Stat().AcquiredConns(); n != 1 {
		t.Errorf("20 runs hold %d connections, want 1", n)
	}
	const session = ` FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()`
	if n := count(t, direct, `SELECT count(*) FILTER (WHERE backend_xmin IS NULL AND backend_xid IS NULL)`+session); n != 1 {
		t.Errorf("%d sessions without a snapshot, want 1", n)
	}
	const locks = `SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid ` + session + `) AND locktype`
	if n := count(t, direct, locks+` = 'advisory'`); n != 20 {
		t.Errorf("%d advisory locks, want 20", n)
	}
	if n := count(t, direct, locks+` NOT IN ('advisory', 'virtualxid')`); n != 0 {
		t.Errorf("%d other locks", n)
	}
	for i, run := range runs {
		err := run.Release(t.Context())
		if i%2 == 0 {
			run, _, beginErr := b.Begin(t.Context(), gateway.Key{Value: fmt.Sprint(i)}) // while others are unlocked
			if err = errors.Join(err, beginErr); err == nil {
				err = run.Finish(t.Context(), gateway.Result{Response: []byte("x")})
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error { return idle(t.Context(), direct, pool) })
}

// TestKeeperDies ends the session that holds the locks: its keys are free for others, and
// whose response is stored first decides.
func TestKeeperDies(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	one, two := open(t, pool, postgres.Config{}).WithoutTransaction(), open(t, poolOf(t, direct), postgres.Config{}).WithoutTransaction()
	key := gateway.Key{Value: "k"}
	first, _, err := one.Begin(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.Begin(t.Context(), key); !isInProgress(err) {
		t.Fatalf("a claimed key: %v", err)
	}
	kill(t, direct, pool)
	var second gateway.Run
	testenv.Eventually(t, 10*time.Second, func() (err error) {
		second, _, err = two.Begin(t.Context(), key)
		return err
	})
	if err := second.Finish(t.Context(), gateway.Result{Response: []byte("second")}); err != nil {
		t.Fatal(err)
	}
	if err := first.Finish(t.Context(), gateway.Result{Response: []byte("first")}); !isTaken(err) {
		t.Errorf("Finish after the lock was lost: %v, want ErrTaken", err)
	}
	other, _, err := one.Begin(t.Context(), gateway.Key{Value: "other"}) // on another connection
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(t.Context()); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error { return idle(t.Context(), direct, pool) })
}

// TestAbandonedClaims lets clients go while their keys are claimed: no lock stays behind.
func TestAbandonedClaims(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	b := open(t, pool, postgres.Config{}).WithoutTransaction()
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			for n := range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n*20)*time.Microsecond)
				run, _, err := b.Begin(ctx, gateway.Key{Value: fmt.Sprint(i % 4)})
				cancel()
				switch {
				case err == nil:
					if err := run.Release(t.Context()); err != nil {
						t.Error(err)
					}
				case !isInProgress(err) && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	testenv.Eventually(t, 10*time.Second, func() error { return idle(t.Context(), direct, pool) })
	for i := range 4 {
		run, _, err := b.Begin(t.Context(), gateway.Key{Value: fmt.Sprint(i)})
		if err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
		if err := run.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestStoredTwice stores two responses of one key at the same time: those of a run that the
// middleware has given up while the server was slow, and of the one after it. The first one
// stays, and responses of other keys are not affected.
func TestStoredTwice(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	b := open(t, poolOf(t, direct), postgres.Config{})
	one, two := gateway.Key{Value: "one"}, gateway.Key{Value: "two"}
	errs := b.StoreAll([]gateway.Key{one, two, one, one}, []string{"a", "b", "c", "d"})
	if errs[0] != nil || errs[1] != nil || !isTaken(errs[2]) || !isTaken(errs[3]) {
		t.Errorf("errors %v, want two successes and two ErrTaken", errs)
	}
	for key, want := range map[gateway.Key]string{one: "a", two: "b"} {
		if _, stored, err := b.Begin(t.Context(), key); string(stored) != want || err != nil {
			t.Errorf("%s: stored %q, %v, want %q", key.Value, stored, err, want)
		}
	}
}
