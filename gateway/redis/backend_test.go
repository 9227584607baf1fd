package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/internal/testenv"
)

func short(cfg *redis.Config) { cfg.Lease = 600 * time.Millisecond }

// name returns the only key in the server.
func name(t *testing.T, client rueidis.Client) string {
	t.Helper()
	names, err := do(t, client, "KEYS", "*").AsStrSlice()
	if err != nil || len(names) != 1 {
		t.Fatalf("the server has the keys %q, %v; want one", names, err)
	}
	return names[0]
}

func TestLockIsRenewed(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	one, two := open(t, server, short), open(t, server, short)
	run := mustClaim(t, one, "a")
	ctx := run.Context(t.Context())
	for begin := time.Now(); time.Since(begin) < 3*600*time.Millisecond; {
		mustBusy(t, two, "a")
	}
	if ctx.Err() != nil {
		t.Errorf("the handler was canceled: %v", context.Cause(ctx))
	}
	mustFinish(t, run, "first")
	mustBeStored(t, two, "a", "first")
	if ctx.Err() == nil {
		t.Error("the context of the handler has not ended with the run")
	}
}

// TestSuccessor lets another run take over a key. The first one must leave it alone.
func TestSuccessor(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server)
	released, finished := mustClaim(t, b, "released"), mustClaim(t, b, "finished")
	do(t, client, "FLUSHALL")
	successors := []gateway.Run{mustClaim(t, b, "released"), mustClaim(t, b, "finished")}
	mustRelease(t, released)
	err := finished.Finish(t.Context(), gateway.Result{Response: []byte("first")})
	if !errors.Is(err, redis.ErrLeaseLost) || !errors.Is(err, gateway.ErrFateUnknown) {
		t.Errorf("Finish while another one runs: %v, want ErrLeaseLost and ErrFateUnknown", err)
	}
	mustBusy(t, b, "released")
	mustBusy(t, b, "finished")
	mustFinish(t, successors[0], "second")
	mustFinish(t, successors[1], "second")
	mustBeStored(t, b, "released", "second")
	mustBeStored(t, b, "finished", "second")
}

func TestLeaseLost(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server, short)
	run := mustClaim(t, b, "a")
	ctx := run.Context(t.Context())
	do(t, client, "SET", name(t, client), othersLock(600))
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), redis.ErrLeaseLost) {
		t.Errorf("the cause is %v, want ErrLeaseLost", context.Cause(ctx))
	}
	if err := run.Release(t.Context()); err != nil {
		t.Error(err)
	}
	mustBusy(t, b, "a")
}

// TestLeaseLostWithTheServer lets the server disappear for longer than the lease.
func TestLeaseLostWithTheServer(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	b := open(t, server, short)
	run := mustClaim(t, b, "a")
	ctx := run.Context(t.Context())
	begin := time.Now()
	server.Kill()
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), redis.ErrLeaseLost) {
		t.Errorf("the cause is %v, want ErrLeaseLost", context.Cause(ctx))
	}
	if after := time.Since(begin); after < 300*time.Millisecond {
		t.Errorf("gave up after %v, before the lease has passed", after)
	}
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte("x")}); !errors.Is(err, gateway.ErrFateUnknown) {
		t.Errorf("Finish without a server: %v, want ErrFateUnknown", err)
	}
}

// TestFlushedWhileRunning checks that the next renewal locks the key again.
func TestFlushedWhileRunning(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server, short)
	run := mustClaim(t, b, "a")
	do(t, client, "FLUSHALL")
	testenv.Eventually(t, 10*time.Second, func() error {
		if n, err := do(t, client, "DBSIZE").AsInt64(); err != nil || n != 1 {
			return fmt.Errorf("%d keys, %w", n, err)
		}
		return nil
	})
	mustBusy(t, b, "a")
	mustFinish(t, run, "first")
	mustBeStored(t, b, "a", "first")
}

// TestFinishRepeats lets the server be away when the response is to be stored.
func TestFinishRepeats(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	b := open(t, server)
	run, other := mustClaim(t, b, "a"), mustClaim(t, b, "b")
	server.Kill()
	results := make(chan error, 2)
	go func() { results <- run.Finish(t.Context(), gateway.Result{Response: []byte("first")}) }()
	go func() { results <- other.Release(t.Context()) }()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	mustBeStored(t, b, "a", "first")
	mustRelease(t, mustClaim(t, b, "b"))
}

// TestFinishWhileSavingFails lets the server refuse writes when the response is to be stored,
// because it can't save its memory to disk.
func TestFinishWhileSavingFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	server := startRedis(t, "--dir", dir, "--save", "3600 1000000")
	client, b := connect(t, server), open(t, server, func(cfg *redis.Config) { cfg.Lease = time.Minute })
	run := mustClaim(t, b, "a")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	do(t, client, "BGSAVE")
	infoHas(t, client, "persistence", "rdb_last_bgsave_status:err")
	finished := make(chan error, 1)
	go func() { finished <- run.Finish(t.Context(), gateway.Result{Response: []byte("first")}) }()
	infoHas(t, client, "errorstats", "errorstat_MISCONF")
	do(t, client, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no") // as if it could save again
	if err := <-finished; err != nil {
		t.Errorf("Finish: %v", err)
	}
	mustBeStored(t, b, "a", "first")
}

// infoHas waits until a section of INFO has a text.
func infoHas(t *testing.T, client rueidis.Client, section, text string) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error {
		info, err := do(t, client, "INFO", section).ToString()
		if err == nil && !strings.Contains(info, text) {
			err = fmt.Errorf("INFO %s has no %s", section, text)
		}
		return err
	})
}

func TestTimesToLive(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client := connect(t, server)
	b := open(t, server, func(cfg *redis.Config) { cfg.Lease, cfg.ResponseTTL = time.Minute, time.Hour })
	left := func() time.Duration {
		ms, err := do(t, client, "PTTL", name(t, client)).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	run := mustClaim(t, b, "a")
	if got := left(); got > time.Minute || got < 50*time.Second {
		t.Errorf("the lock lives for %v, want a minute", got)
	}
	mustFinish(t, run, "first")
	if got := left(); got > time.Hour || got < 59*time.Minute {
		t.Errorf("the response lives for %v, want an hour", got)
	}
}

// TestClockSetBack does to a lock what a server's clock does that is set back by an hour.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	client, b := connect(t, server), open(t, server, short)
	dead := name(t, func() rueidis.Client { mustClaim(t, b, "a"); return client }())
	lock, err := do(t, client, "GET", dead).ToString()
	if err != nil || !strings.HasPrefix(lock, "L600:") {
		t.Fatalf("the lock is %q, %v", lock, err)
	}
	other := open(t, server)
	do(t, client, "SET", dead, othersLock(500), "PX", "3600000")
	testenv.Eventually(t, 20*time.Second, func() error {
		run, _, err := other.Begin(t.Context(), key("a"))
		if err != nil {
			return err
		}
		return run.Release(t.Context())
	})
}

func TestServerIsDown(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	b := open(t, server)
	mustBeUnavailable := func(when string) {
		t.Helper()
		begin := time.Now()
		run, stored, err := b.Begin(t.Context(), key("a"))
		if _, ok := errors.AsType[*gateway.UnavailableError](err); !ok {
			t.Errorf("%s: %v, %q, %v; want an UnavailableError", when, run, stored, err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: Begin took %v", when, took)
		}
	}
	if err := server.Freeze(); err != nil {
		t.Fatal(err)
	}
	mustBeUnavailable("frozen")
	server.Kill()
	mustBeUnavailable("down")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		run, _, err := b.Begin(t.Context(), key("a"))
		if err != nil {
			return err
		}
		return run.Release(t.Context())
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := redis.Open(t.Context(), redis.Config{
		Lease: time.Millisecond, ResponseTTL: -1, Timeout: time.Second, CheckEvery: -1,
	})
	for _, want := range []string{"Client", "Lease", "ResponseTTL", "Timeout", "CheckEvery"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, err := redis.NewHybrid(redis.HybridConfig{Cooldown: -1}); err == nil ||
		!strings.Contains(err.Error(), "Decider") || !strings.Contains(err.Error(), "Cooldown") {
		t.Errorf("NewHybrid: %v", err)
	}
}
