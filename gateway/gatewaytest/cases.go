package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/pawl-go/pawl/gateway"
)

func testStored(t *testing.T, s Subject) {
	one, two := s.Open(t), s.Open(t)
	mustFinish(t, mustClaim(t, one, key("a")), "first")
	mustBeStored(t, one, key("a"), "first")
	mustBeStored(t, two, key("a"), "first")
	mustRelease(t, mustClaim(t, two, key("b")))
}

func testInProgress(t *testing.T, s Subject) {
	one, two := s.Open(t), s.Open(t)
	run := mustClaim(t, one, key("a"))
	for range 3 {
		mustBusy(t, one, key("a"))
		mustBusy(t, two, key("a"))
	}
	other := mustClaim(t, two, key("b")) // other keys do not wait
	mustFinish(t, run, "a")
	mustFinish(t, other, "b")
	mustBeStored(t, two, key("a"), "a")
	mustBeStored(t, one, key("b"), "b")
}

func testReleased(t *testing.T, s Subject) {
	one, two := s.Open(t), s.Open(t)
	for range 3 {
		mustRelease(t, mustClaim(t, one, key("a")))
		mustRelease(t, mustClaim(t, two, key("a")))
	}
	mustFinish(t, mustClaim(t, one, key("a")), "at last")
	mustBeStored(t, two, key("a"), "at last")
}

func testEnds(t *testing.T, s Subject) {
	b := s.Open(t)
	finished, released := mustClaim(t, b, key("a")), mustClaim(t, b, key("b"))
	mustFinish(t, finished, "first")
	mustRelease(t, released)
	current := mustClaim(t, b, key("b")) // which the ended run must not end
	for name, run := range map[string]gateway.Run{"finished": finished, "released": released} {
		if err := run.Finish(t.Context(), gateway.Result{Response: []byte("second")}); !errors.Is(err, gateway.ErrEnded) {
			t.Errorf("Finish of a %s run: %v, want ErrEnded", name, err)
		}
		if err := run.Release(t.Context()); !errors.Is(err, gateway.ErrEnded) {
			t.Errorf("Release of a %s run: %v, want ErrEnded", name, err)
		}
	}
	mustBeStored(t, b, key("a"), "first")
	mustBusy(t, b, key("b"))
	mustFinish(t, current, "current")
	mustBeStored(t, b, key("b"), "current")
}

func testScopes(t *testing.T, s Subject) {
	b := s.Open(t)
	keys := []gateway.Key{
		{Tenant: "a", Route: "b", Value: "c"},
		{Tenant: "b", Route: "b", Value: "c"},
		{Tenant: "a", Route: "a", Value: "c"},
		{Tenant: "ab", Route: "", Value: "c"},
		{Tenant: "", Route: "ab", Value: "c"},
		{Tenant: "a", Route: "bc", Value: ""},
		{Tenant: "a", Route: "b", Value: "C"},
		{Tenant: "a", Route: "b", Value: "c\x00"},
		{Tenant: "a", Route: "b", Value: strings.Repeat("c", 255)},
	}
	first := mustClaim(t, b, keys[0])
	for i, k := range keys[1:] {
		mustFinish(t, mustClaim(t, b, k), fmt.Sprint("of ", i+1))
	}
	mustFinish(t, first, "of 0")
	for i, k := range keys {
		mustBeStored(t, b, k, fmt.Sprint("of ", i))
	}
}

func testExpires(t *testing.T, s Subject) {
	one, two := s.Open(t), s.Open(t)
	long := mustClaim(t, two, key("long")) // time goes on while it runs
	mustFinish(t, mustClaim(t, one, key("a")), "first")
	s.Expire(t)
	run := claimExpired(t, two, key("a"))
	mustBusy(t, one, key("a"))
	mustRelease(t, run)
	mustFinish(t, mustClaim(t, one, key("a")), "second")
	mustBeStored(t, two, key("a"), "second")
	mustRelease(t, long)
}

// claimExpired is mustClaim for a key whose response has expired. The claim of a run may end a
// moment after its response was stored.
func claimExpired(t *testing.T, b gateway.Backend, k gateway.Key) (run gateway.Run) {
	t.Helper()
	eventually(t, func() error {
		c := mustBegin(t, b, k)
		if run = c.run; run == nil {
			return fmt.Errorf("Begin of a key whose response has expired: busy %t, stored %q", c.busy, c.stored)
		}
		return nil
	})
	return run
}

func testUndo(t *testing.T, s Subject) {
	b := s.Open(t)
	run := mustClaim(t, b, key("a"))
	if ctx := run.Context(t.Context()); ctx == nil || ctx.Err() != nil {
		t.Fatalf("the run's context is %v", ctx)
	}
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte("refused"), Undo: true}); err != nil {
		t.Fatal(err)
	}
	mustBeStored(t, b, key("a"), "refused")
}

func testSizes(t *testing.T, s Subject) {
	b := s.Open(t)
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 2, 100, 2_000, 8_191, 8_192, 100_000, 1 << 20} {
		response := make([]byte, size)
		_, _ = random.Read(response) // never fails
		response[0] = 0
		k := key(fmt.Sprint(size))
		mustFinish(t, mustClaim(t, b, k), string(response))
		mustBeStored(t, b, k, string(response))
	}
}

func testCanceled(t *testing.T, s Subject) {
	b := s.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := begin(ctx, b, key("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("Begin with a canceled context: %+v, %v", c, err)
	}
	mustFinish(t, mustClaim(t, b, key("a")), "first") // it has claimed nothing
}

func testOutlives(t *testing.T, s Subject) {
	one, two := s.Open(t), s.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := begin(ctx, one, key("a"))
	if err != nil || c.run == nil {
		t.Fatal(c, err)
	}
	cancel()
	mustBusy(t, two, key("a"))
	mustFinish(t, c.run, "first")
	mustBeStored(t, two, key("a"), "first")
}

// testHundred lets a hundred goroutines of three processes begin one key at a time. Half of
// the runs are released, so that the key is claimed again and again.
func testHundred(t *testing.T, s Subject) {
	processes := []gateway.Backend{s.Open(t), s.Open(t), s.Open(t)}
	var mu sync.Mutex
	running, finished, runs := 0, 0, 0
	attempt := func(b gateway.Backend, last bool) (stored []byte, err error) {
		c, err := begin(t.Context(), b, key("a"))
		if err != nil || c.run == nil {
			return c.stored, err
		}
		mu.Lock()
		running++
		runs++
		if running > 1 || finished > 0 {
			t.Errorf("%d runs at the same time, after %d that have finished", running, finished)
		}
		finish := runs > 20 || last
		if finish {
			finished++
		}
		running--
		mu.Unlock()
		if finish {
			return nil, c.run.Finish(t.Context(), gateway.Result{Response: []byte("once")})
		}
		return nil, c.run.Release(t.Context())
	}
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			for n := 0; ; n++ {
				stored, err := attempt(processes[i%3], n > 1000)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				if stored != nil {
					if string(stored) != "once" {
						t.Errorf("client %d got %q", i, stored)
					}
					return
				}
			}
		})
	}
	wait.Wait()
	if finished != 1 {
		t.Errorf("%d runs have finished, want 1", finished)
	}
}

func testKilled(t *testing.T, s Subject) {
	if s.Kill == nil {
		t.Skip("the backend does not outlive its process")
	}
	one, two := s.Open(t), s.Open(t)
	mustFinish(t, mustClaim(t, one, key("stored")), "first")
	run := mustClaim(t, one, key("running"))
	mustBusy(t, two, key("running"))
	s.Kill(t, one)
	eventually(t, func() error {
		c, err := begin(t.Context(), two, key("running"))
		if err != nil || c.run == nil {
			return fmt.Errorf("the key of a killed process: %+v, %w", c, err)
		}
		mustFinish(t, c.run, "second")
		return nil
	})
	mustBeStored(t, two, key("stored"), "first")
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte("too late")}); err == nil {
		t.Error("Finish succeeded after the run's process was killed")
	}
	mustBeStored(t, two, key("running"), "second")
}
