package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/gateway"
)

// A Subject is a backend that is tested: one storage, and the processes that use it.
type Subject struct {
	// Open opens the backend as a new process does. All that one Subject opens share the
	// storage. Cleanups of t close it.
	Open func(t *testing.T) gateway.Backend

	// Expire makes all responses that are stored now expire.
	Expire func(t *testing.T)

	// Kill ends the process of a backend that Open has returned: its claims end without
	// Finish or Release. The keys may become free a little later. nil means that the backend
	// does not outlive its process.
	Kill func(t *testing.T, b gateway.Backend)
}

// Test runs the tests of backends. start returns a Subject with an empty storage; it is
// called for each test, and the tests run in parallel.
func Test(t *testing.T, start func(t *testing.T) Subject) { //nolint:tparallel // the caller decides
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s Subject)
	}{
		{"a response is stored and returned", testStored},
		{"a key in progress", testInProgress},
		{"a released key is free", testReleased},
		{"a run ends once", testEnds},
		{"keys of tenants and routes differ", testScopes},
		{"responses expire", testExpires},
		{"responses that undo are stored", testUndo},
		{"responses of all sizes", testSizes},
		{"a context that has ended", testCanceled},
		{"a run outlives the context of Begin", testOutlives},
		{"a hundred requests with one key", testHundred},
		{"a killed process", testKilled},
		{"random calls", testRandom},
		{"a hundred clients through HTTP", testClients},
		{"random requests through HTTP", testRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, start(t))
		})
	}
}

// A claim is what Begin has returned.
type claim struct {
	run    gateway.Run
	stored []byte
	busy   bool
}

// begin calls Begin and checks that it returns exactly one thing.
func begin(ctx context.Context, b gateway.Backend, key gateway.Key) (claim, error) {
	run, stored, err := b.Begin(ctx, key)
	c := claim{run: run, stored: stored}
	if inProgress, ok := errors.AsType[*gateway.InProgressError](err); ok {
		c.busy, err = true, nil
		if inProgress.RetryAfter < 0 {
			return c, fmt.Errorf("Begin: retry after %v", inProgress.RetryAfter)
		}
	}
	n := 0
	for _, is := range []bool{run != nil, stored != nil, c.busy, err != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return c, fmt.Errorf("Begin returned %d of a run (%v), a response (%d bytes), in progress (%t) and another error, want one: %w", n, run, len(stored), c.busy, err)
	}
	return c, err
}

func mustBegin(t *testing.T, b gateway.Backend, key gateway.Key) claim {
	t.Helper()
	c, err := begin(t.Context(), b, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustClaim is mustBegin for a key that must be free.
func mustClaim(t *testing.T, b gateway.Backend, key gateway.Key) gateway.Run {
	t.Helper()
	c := mustBegin(t, b, key)
	if c.run == nil {
		t.Fatalf("Begin of a free key: busy %t, stored %q", c.busy, c.stored)
	}
	return c.run
}

func mustBusy(t *testing.T, b gateway.Backend, key gateway.Key) {
	t.Helper()
	if c := mustBegin(t, b, key); !c.busy {
		if c.run != nil {
			_ = c.run.Release(t.Context())
		}
		t.Errorf("Begin of a claimed key: a run: %t, stored %q; want an InProgressError", c.run != nil, c.stored)
	}
}

func mustBeStored(t *testing.T, b gateway.Backend, key gateway.Key, want string) {
	t.Helper()
	c := mustBegin(t, b, key)
	if c.run != nil {
		_ = c.run.Release(t.Context())
	}
	if string(c.stored) != want {
		t.Errorf("Begin returned %q (a run: %t, busy: %t), want the stored %q", c.stored, c.run != nil, c.busy, want)
	}
}

func mustFinish(t *testing.T, run gateway.Run, response string) {
	t.Helper()
	if err := run.Finish(t.Context(), gateway.Result{Response: []byte(response)}); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

func mustRelease(t *testing.T, run gateway.Run) {
	t.Helper()
	if err := run.Release(t.Context()); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline, tick := time.Now().Add(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

func key(value string) gateway.Key {
	return gateway.Key{Tenant: "acme", Route: "POST /orders", Value: value}
}
