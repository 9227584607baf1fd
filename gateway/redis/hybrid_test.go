package redis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/internal/testenv"
)

func TestHybridConformance(t *testing.T) {
	t.Parallel()
	gatewaytest.Test(t, func(t *testing.T) gatewaytest.Subject {
		w := newWorld(t)
		return gatewaytest.Subject{
			Open: func(t *testing.T) gateway.Backend {
				client := connect(t, w.server)
				h, _ := w.openOn(t, client)
				return &hybridProcess{Hybrid: h, client: client}
			},
			Expire: func(t *testing.T) {
				if _, err := w.pool.Exec(t.Context(), `UPDATE pawl.responses SET expires_at = now() - interval '1 second'`); err != nil {
					t.Fatal(err)
				}
				expireResponses(t, w.server)
			},
			Kill: func(t *testing.T, b gateway.Backend) {
				p := b.(*hybridProcess)
				p.client.Close()
				terminate(t, w)
			},
		}
	})
}

// A hybridProcess is a hybrid with its connections.
type hybridProcess struct {
	*redis.Hybrid

	client rueidis.Client
}

// terminate ends all connections that are in a transaction.
func terminate(t *testing.T, w *world) {
	t.Helper()
	const statement = `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'`
	if _, err := w.pool.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// TestHybridAnswersFromRedis checks that repeats and collisions do not reach PostgreSQL.
func TestHybridAnswersFromRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, first := w.open(t)
	two, second := w.open(t)
	run := mustClaim(t, one, "a")
	for range 5 {
		mustBusy(t, two, "a")
	}
	mustFinish(t, run, "first")
	for range 5 {
		mustBeStored(t, two, "a", "first")
		mustBeStored(t, one, "a", "first")
	}
	if a, b := first.begins.Load(), second.begins.Load(); a != 1 || b != 0 {
		t.Errorf("PostgreSQL was asked %d and %d times, want 1 and 0", a, b)
	}
	do(t, w.client, "FLUSHALL")
	for range 5 {
		mustBeStored(t, two, "a", "first")
	}
	if n := second.begins.Load(); n != 1 {
		t.Errorf("after a flush, PostgreSQL was asked %d times, want 1: its response is cached again", n)
	}
}

// TestHybridReleases checks that a released key is free at once, in both.
func TestHybridReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := func(cfg *redis.Config) { cfg.Lease = time.Hour }
	one, _ := w.open(t, long)
	two, _ := w.open(t, long)
	for range 3 {
		mustRelease(t, mustClaim(t, one, "a"))
		mustRelease(t, mustClaim(t, two, "a"))
	}
	if n, err := do(t, w.client, "DBSIZE").AsInt64(); n != 0 || err != nil {
		t.Errorf("%d keys are left in Redis, %v", n, err)
	}
}

// TestHybridDecides lets Redis forget the lock of a running request. PostgreSQL knows.
func TestHybridDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := func(cfg *redis.Config) { cfg.Lease = time.Hour }
	one, _ := w.open(t, long)
	two, _ := w.open(t, long)
	run := mustClaim(t, one, "a")
	if err := effect(t.Context(), run, "a"); err != nil {
		t.Fatal(err)
	}
	do(t, w.client, "FLUSHALL")
	mustBusy(t, two, "a")
	if n, err := do(t, w.client, "DBSIZE").AsInt64(); n != 0 || err != nil {
		t.Errorf("%d locks are left in Redis, %v: the loser has kept its own", n, err)
	}
	mustFinish(t, run, "first")
	mustBeStored(t, two, "a", "first")
	w.mustBeOnce(t, 1)
}

// TestHybridNeverCachesWhatIsNotStored lets the commit fail.
func TestHybridNeverCachesWhatIsNotStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, _ := w.open(t)
	run := mustClaim(t, h, "a")
	if err := effect(t.Context(), run, "a"); err != nil {
		t.Fatal(err)
	}
	terminate(t, w)
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte("lost")}); err == nil {
		t.Fatal("Finish succeeded on a connection that was terminated")
	}
	answer, err := request(t.Context(), h, "a")
	if err != nil || answer == "lost" {
		t.Errorf("the retry got %q, %v", answer, err)
	}
	w.mustBeOnce(t, 1)
}

// TestHybridFaults causes each fault again and again under many requests.
func TestHybridFaults(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]func(t *testing.T, w *world){
		"flushed": func(t *testing.T, w *world) { do(t, w.client, "FLUSHALL") },
		"killed": func(t *testing.T, w *world) {
			w.server.Kill()
			if err := w.server.Start(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"frozen for longer than the lease": func(t *testing.T, w *world) {
			if err := errors.Join(w.server.Freeze(), wait(t, 900*time.Millisecond), w.server.Thaw()); err != nil {
				t.Error(err)
			}
		},
		"full": func(t *testing.T, w *world) {
			do(t, w.client, "CONFIG", "SET", "maxmemory", "100kb")
			_ = wait(t, 50*time.Millisecond)
			do(t, w.client, "CONFIG", "SET", "maxmemory", "0")
		},
		"evicts": func(t *testing.T, w *world) {
			do(t, w.client, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
			do(t, w.client, "CONFIG", "SET", "maxmemory", "100kb")
			_ = wait(t, 50*time.Millisecond)
			do(t, w.client, "CONFIG", "SET", "maxmemory", "0")
		},
		"its clock goes ahead": func(t *testing.T, w *world) { expireAll(t, w, "0") },
		"its clock goes back":  func(t *testing.T, w *world) { expireAll(t, w, "7200000") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			one, _ := w.open(t)
			two, _ := w.open(t)
			var caused atomic.Int32
			storms := make(chan int, 1)
			go func() {
				n := 0
				for ; n < 8 || caused.Load() < 2 && !t.Failed(); n++ {
					var keys []string
					for j := range 12 {
						keys = append(keys, fmt.Sprintf("%d-%d", n, j))
					}
					storm(t, keys, one, two)
				}
				storms <- n
			}()
			for {
				cause(t, w)
				caused.Add(1)
				select {
				case n := <-storms:
					w.mustBeOnce(t, n*12)
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
}

// wait is a pause between two signals.
func wait(t *testing.T, d time.Duration) error {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	return nil
}

func expireAll(t *testing.T, w *world, milliseconds string) {
	t.Helper()
	names, err := do(t, w.client, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		do(t, w.client, "PEXPIRE", name, milliseconds)
	}
}

// TestHybridFailover promotes a replica that lacks the lock of a running request.
func TestHybridFailover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replica := startRedis(t)
	standby := connect(t, replica)
	host, port, _ := net.SplitHostPort(w.server.Addr)
	do(t, standby, "REPLICAOF", host, port)
	testenv.Eventually(t, 20*time.Second, func() error {
		if n, err := do(t, w.client, "WAIT", "1", "100").AsInt64(); n != 1 || err != nil {
			return fmt.Errorf("%d replicas, %w", n, err)
		}
		return nil
	})
	var primary atomic.Pointer[string]
	primary.Store(&w.server.Addr)
	client := func() rueidis.Client {
		c, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{w.server.Addr}, DisableCache: true, ForceSingleClient: true,
			DialCtxFn: func(ctx context.Context, _ string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", *primary.Load())
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	long := func(cfg *redis.Config) { cfg.Lease = 30 * time.Second }
	one, _ := w.openOn(t, client(), long)
	two, second := w.openOn(t, client(), long)

	do(t, standby, "REPLICAOF", "NO", "ONE") // it is promoted, and lacks what comes now
	run := mustClaim(t, one, "a")
	if err := effect(t.Context(), run, "a"); err != nil {
		t.Fatal(err)
	}
	w.server.Kill()
	if n, err := do(t, standby, "DBSIZE").AsInt64(); n != 0 || err != nil {
		t.Fatalf("the replica has %d keys, %v; want that it lacks the lock", n, err)
	}
	primary.Store(&replica.Addr)

	answered := make(chan string, 1)
	go func() {
		answer, err := request(t.Context(), two, "a")
		if err != nil {
			t.Error(err)
		}
		answered <- answer
	}()
	testenv.Eventually(t, 20*time.Second, func() error { // the other one has asked the replica
		if asked := second.begins.Load(); asked == 0 {
			return errors.New("PostgreSQL has not been asked")
		}
		return nil
	})
	mustFinish(t, run, "first")
	if answer := <-answered; answer != "first" {
		t.Errorf("the other client got %q", answer)
	}
	w.mustBeOnce(t, 1)
}

func TestHybridRefusesWhenFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fast := open(t, w.server)
	decider, err := postgres.Open(t.Context(), w.pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider, RefuseWhenFull: true})
	if err != nil {
		t.Fatal(err)
	}
	mustFinish(t, mustClaim(t, h, "before"), "first")
	fill(t, w.client)
	_, _, err = h.Begin(t.Context(), key("new"))
	if _, ok := errors.AsType[*gateway.UnavailableError](err); !ok || !errors.Is(err, redis.ErrFull) {
		t.Errorf("Begin while Redis is full: %v, want ErrFull in an UnavailableError", err)
	}
	mustBeStored(t, h, "before", "first")
}

// TestHybridDoesNotWaitForEach checks that a frozen Redis delays few requests.
func TestHybridDoesNotWaitForEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, _ := w.open(t, func(cfg *redis.Config) { cfg.Lease, cfg.Timeout = 3*time.Second, time.Second })
	mustFinish(t, mustClaim(t, h, "before"), "first")
	if err := w.server.Freeze(); err != nil {
		t.Fatal(err)
	}
	mustBeStored(t, h, "before", "first") // which waits
	begin := time.Now()
	const n = 40
	for i := range n {
		mustFinish(t, mustClaim(t, h, fmt.Sprint(i)), "x")
	}
	if took := time.Since(begin); took > n*time.Second/2 {
		t.Errorf("%d requests took %v", n, took)
	}
	if err := w.server.Thaw(); err != nil {
		t.Fatal(err)
	}
}

// TestHybridFreesLocksAfterAnOutage freezes Redis when it has a lock, and when it is about to
// get one. The keys do not wait for the lease, of an hour.
func TestHybridFreesLocksAfterAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := func(cfg *redis.Config) { cfg.Lease, cfg.Timeout = time.Hour, 200*time.Millisecond }
	one, _ := w.open(t, long)
	two, _ := w.open(t, long)
	finished, released := mustClaim(t, one, "finished"), mustClaim(t, one, "released")
	if err := w.server.Freeze(); err != nil {
		t.Fatal(err)
	}
	late := mustClaim(t, two, "late") // Redis locks it when it goes on
	mustFinish(t, late, "first")
	mustFinish(t, finished, "first")
	mustRelease(t, released)
	if err := w.server.Thaw(); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"late", "finished"} {
		testenv.Eventually(t, 10*time.Second, func() error {
			_, stored, err := two.Begin(t.Context(), key(value))
			if err != nil || string(stored) != "first" {
				return fmt.Errorf("key %s: %q, %w", value, stored, err)
			}
			return nil
		})
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		run, _, err := two.Begin(t.Context(), key("released"))
		if err != nil {
			return err
		}
		return run.Release(t.Context())
	})
}

// TestHybridBesideAnEvictingServer checks that responses do not go to a server that may evict,
// and that this is logged once.
func TestHybridBesideAnEvictingServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lines
	fast, err := redis.Open(t.Context(), redis.Config{Client: connect(t, w.server), CheckEvery: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	h, err := redis.NewHybrid(redis.HybridConfig{
		Redis: fast, Decider: gatewaytest.NewMemory(0), Cooldown: time.Nanosecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	do(t, w.client, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	for i := range 10 {
		value := fmt.Sprint(i)
		mustFinish(t, mustClaim(t, h, value), "first")
		mustBeStored(t, h, value, "first")
	}
	if n, err := do(t, w.client, "DBSIZE").AsInt64(); n != 0 || err != nil {
		t.Errorf("%d keys are in Redis, %v", n, err)
	}
	if n := log.n.Load(); n != 1 {
		t.Errorf("%d lines were logged, want 1", n)
	}
}

// lines counts what is logged.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(1)
	return len(p), nil
}

// TestHybridStartsWithoutRedis gives a hybrid its Redis later.
func TestHybridStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	decider, err := postgres.Open(t.Context(), w.pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{Backend: decider}
	h, err := redis.NewHybrid(redis.HybridConfig{Decider: counted})
	if err != nil {
		t.Fatal(err)
	}
	run := mustClaim(t, h, "a")
	h.Use(open(t, w.server))
	mustFinish(t, run, "first")
	mustBeStored(t, h, "a", "first")
	if n := counted.begins.Load(); n != 1 {
		t.Errorf("PostgreSQL was asked %d times, want 1", n)
	}
}

// TestHybridCachesBriefly checks how long Redis keeps a response that PostgreSQL had before:
// nobody knows how long it lives there.
func TestHybridCachesBriefly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, counted := w.open(t)
	left := func() time.Duration {
		ms, err := do(t, w.client, "PTTL", name(t, w.client)).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	mustFinish(t, mustClaim(t, h, "a"), "first")
	if got := left(); got < 23*time.Hour {
		t.Errorf("a new response is kept for %v", got)
	}
	do(t, w.client, "FLUSHALL")
	for range 2 {
		mustBeStored(t, h, "a", "first")
	}
	if got := left(); got <= 0 || got > time.Minute || counted.begins.Load() != 2 {
		t.Errorf("a response of PostgreSQL is kept for %v, which was asked %d times", got, counted.begins.Load())
	}
}

// TestHybridForeignValues puts values of other programs where responses should be. They concern
// their keys only, and give way to the responses.
func TestHybridForeignValues(t *testing.T) {
	t.Parallel()
	for kind, command := range map[string][]string{"a text": {"SET", "", "x"}, "an empty text": {"SET", "", ""}, "a text like a lock": {"SET", "", "L1:x"}, "a list": {"RPUSH", "", "x"}} {
		w := newWorld(t)
		h, counted := w.open(t)
		run := mustClaim(t, h, "foreign")
		command[1] = name(t, w.client)
		mustRelease(t, run)
		mustFinish(t, mustClaim(t, h, "other"), "of another key")
		do(t, w.client, command...)
		begins := counted.begins.Load()
		run = mustClaim(t, h, "foreign")
		mustBeStored(t, h, "other", "of another key")
		if n := counted.begins.Load() - begins; n != 1 {
			t.Errorf("%s: PostgreSQL was asked %d times, want 1", kind, n)
		}
		mustFinish(t, run, "first")
		mustBeStored(t, h, "foreign", "first")
		if n := counted.begins.Load() - begins; n != 1 {
			t.Errorf("%s: PostgreSQL was asked %d times, want 1: Redis has the response", kind, n)
		}
	}
}

// TestHybridForeignInPlaceOfALock puts a value of another program where the lock of a running
// request is. That concerns no other key.
func TestHybridForeignInPlaceOfALock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h, counted := w.open(t)
	run := mustClaim(t, h, "foreign")
	foreign := name(t, w.client)
	mustFinish(t, mustClaim(t, h, "other"), "of another key")
	do(t, w.client, "DEL", foreign)
	do(t, w.client, "RPUSH", foreign, "x")
	begins := counted.begins.Load()
	mustRelease(t, run)
	mustBeStored(t, h, "other", "of another key")
	if n := counted.begins.Load() - begins; n != 0 {
		t.Errorf("PostgreSQL was asked %d times, want 0: Redis has the response", n)
	}
}
