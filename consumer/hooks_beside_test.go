package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A beside logs what a worker does beside its batches.
type beside struct {
	mu    sync.Mutex
	calls []string
	took  []time.Duration
}

func (h *beside) Commit(ctx context.Context, c consumer.Commit) {
	h.log(c.Took, "commit ", c.Partitions, " ", c.OK, " ", ctx.Err())
}

func (h *beside) Maintained(_ context.Context, m consumer.Maintenance) {
	h.log(m.Took, m.Task, " ", len(m.Settled), " ", m.Expired, " ", m.Err)
}

func (h *beside) log(took time.Duration, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.took = append(h.calls, fmt.Sprint(args...)), append(h.took, took)
}

func (h *beside) logged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// The hook learns of each attempt to commit, also of those that fail, and of none without
// offsets to commit.
func TestHooksOfCommits(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		hook := &beside{}
		cfg := b.config(protocol, newFake(), "orders")
		cfg.Hooks = []consumer.Hook{hook}
		b.produce("orders", 0, "a")
		b.produce("orders", 1, "b")
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 1)
		b.awaitCommitted("orders", 1, 1)
		pass(time.Second)
		before := hook.logged()
		if len(before) == 0 || !slices.Contains([]string{"commit 1 true <nil>", "commit 2 true <nil>"}, before[len(before)-1]) {
			t.Errorf("the hook was called for %q", before)
		}
		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: 1})
		b.produce("orders", 0, "c")
		if err := fault.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		b.awaitCommitted("orders", 0, 2)
		w.stop()
		want := []string{"commit 1 false <nil>", "commit 1 true <nil>"}
		if got := hook.logged()[len(before):]; !slices.Equal(got, want) {
			t.Errorf("the hook was called for %q, want %q", got, want)
		}
	})
}

// A sweeping is a firer whose sweeps settle something.
type sweeping struct{ *firer }

func (sweeping) Sweep(context.Context, versioning.Reading) (versioning.Swept, error) {
	pass(30 * time.Millisecond)
	return versioning.Swept{Released: make([]versioning.Settled, 1), Expired: 2}, errDown
}

func (sweeping) RedriveOlder(context.Context, map[string][]int32, func(*versioning.Record) ([]versioning.Change, error)) ([]versioning.Settled, bool, error) {
	return make([]versioning.Settled, 3), false, nil
}

// The hook learns of timers, sweeps and redrives that settle something or fail, and of no other.
func TestHooksOfMaintenance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		hook := &beside{}
		store := sweeping{&firer{fake: newFake(), do: func(_ context.Context, call int) (versioning.Fired, error) {
			switch call {
			case 1:
				return versioning.Fired{Outcomes: make([]versioning.Settled, 2), Released: make([]versioning.Settled, 3)}, nil
			case 2:
				return versioning.Fired{}, errDown
			}
			return versioning.Fired{}, nil
		}}}
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Hooks = []consumer.Hook{hook}
		cfg.SweepEvery = time.Hour
		w := start(t, cfg)
		pass(20 * time.Second)
		w.stop()
		calls := hook.logged()
		for _, want := range []string{"fire 5 0 <nil>", "fire 0 0 " + errDown.Error(), "sweep 1 2 " + errDown.Error(), "redrive 3 0 <nil>"} {
			at := slices.Index(calls, want)
			if at < 0 {
				t.Errorf("the hook was not called for %q, but for %q", want, calls)
			} else if calls[at][0] == 's' && hook.took[at] != 30*time.Millisecond {
				t.Errorf("the sweep took %v", hook.took[at])
			}
		}
		fires := slices.DeleteFunc(slices.Clone(calls), func(call string) bool { return call[0] != 'f' })
		if len(fires) != 2 {
			t.Errorf("the hook was called for timers: %q", fires)
		}
	})
}

// If the hook panics beside the batches, Run ends with an error that names it.
func TestHookPanicsInMaintenance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := &firer{fake: newFake(), do: func(context.Context, int) (versioning.Fired, error) {
			return versioning.Fired{Outcomes: make([]versioning.Settled, 1)}, nil
		}}
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Hooks = []consumer.Hook{badHook{maintained: true}}
		w, err := consumer.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = w.Run(t.Context())
		if panicked, ok := errors.AsType[*consumer.PanicError](err); !ok || panicked.Callback != "Hooks[0].Maintained" {
			t.Errorf("Run = %v, want a PanicError of Hooks[0].Maintained", err)
		}
	})
}

// A worker is behind from when it knows of records until it has settled them.
func TestHealthSaysSinceWhenItIsBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		w := start(t, b.config(protocol, store, "orders"))
		pass(time.Second)
		if h := w.worker.Health(); !h.Behind.IsZero() {
			t.Errorf("a worker with nothing to do is behind since %v", h.Behind)
		}
		release := make(chan struct{})
		store.on(func(context.Context, []*versioning.Record) (int, error) { <-release; return -1, nil })
		b.produce("orders", 0, "a")
		at := time.Now()
		pass(20 * time.Second)
		if behind := w.worker.Health().Behind; behind.Sub(at).Abs() > time.Second {
			t.Errorf("the worker is behind since %v, want %v", behind, at)
		}
		close(release)
		b.awaitCommitted("orders", 0, 1)
		if h := w.worker.Health(); !h.Behind.IsZero() {
			t.Errorf("a worker that has settled everything is behind since %v", h.Behind)
		}
		w.stop()
	})
}
