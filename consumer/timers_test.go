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

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A firer is a store whose timers are a test's: do is called for each call of FireTimers,
// numbered from 1.
type firer struct {
	*fake

	do     func(ctx context.Context, call int) (versioning.Fired, error)
	counts versioning.TimerCounts

	mu    sync.Mutex
	calls []time.Time
	at    int // calls at the same time
	most  int
}

func (f *firer) FireTimers(ctx context.Context, limit int) (versioning.Fired, error) {
	f.mu.Lock()
	f.calls = append(f.calls, time.Now())
	call := len(f.calls)
	f.at++
	f.most = max(f.most, f.at)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.at--
	}()
	if limit <= 0 {
		return versioning.Fired{}, fmt.Errorf("the limit is %d", limit)
	}
	return f.do(ctx, call)
}

func (f *firer) CountTimers(context.Context) (versioning.TimerCounts, error) { return f.counts, nil }

// since returns when FireTimers was called.
func (f *firer) since(began time.Time) (after []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.calls {
		after = append(after, at.Sub(began).Round(time.Millisecond))
	}
	return after
}

// fireTest starts a worker with a firer in a bubble.
func fireTest(t *testing.T, change func(*consumer.Config), do func(ctx context.Context, call int) (versioning.Fired, error), test func(t *testing.T, f *firer, r *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		f := &firer{fake: newFake(), do: do, counts: versioning.TimerCounts{Pending: 3, Overdue: 1, Oldest: time.Now()}}
		cfg := b.config(consumer.Classic, f, "orders")
		if change != nil {
			change(&cfg)
		}
		r := start(t, cfg)
		test(t, f, r)
		r.stop()
	})
}

// The worker wakes when the next timer is due, and every FireEvery.
func TestFiresWhenDue(t *testing.T) {
	t.Parallel()
	do := func(_ context.Context, call int) (fired versioning.Fired, err error) {
		switch call {
		case 1:
			fired.Next = time.Now().Add(300 * time.Millisecond)
		case 2:
			fired.Next = time.Now().Add(time.Hour)
		case 4:
			fired.Next = time.Now().Add(-time.Hour) // it became due meanwhile
		}
		return fired, nil
	}
	fireTest(t, nil, do, func(t *testing.T, f *firer, r *running) {
		began := time.Now()
		pass(4 * time.Second)
		want := []time.Duration{0, 300 * time.Millisecond, 1300 * time.Millisecond, 2300 * time.Millisecond, 2320 * time.Millisecond, 3320 * time.Millisecond}
		if got := f.since(began); !slices.Equal(got, want) {
			t.Errorf("timers were looked at after %v, want %v", got, want)
		}
		if h := r.expect(consumer.Consuming); h.Timers != f.counts {
			t.Errorf("the worker has counted %+v", h.Timers)
		}
		if _, body := probe(r.worker, "/healthz"); body["timers_pending"] != 3.0 || body["timers_overdue"] != 1.0 || body["timers_oldest"] == nil {
			t.Errorf("the answer of /healthz is %v", body)
		}
	})
}

// If many timers are due, several goroutines fire them, each until none is left.
func TestFiresTogether(t *testing.T) {
	t.Parallel()
	const due = 40
	do := func(_ context.Context, call int) (versioning.Fired, error) {
		pass(10 * time.Millisecond)
		return versioning.Fired{More: call < due}, nil
	}
	change := func(cfg *consumer.Config) { cfg.Connections = 3 }
	fireTest(t, change, do, func(t *testing.T, f *firer, _ *running) {
		began := time.Now()
		pass(time.Second)
		calls := f.since(began)
		if n := len(calls); n < due || n > due+3 || f.most != 3 || calls[due-1] > 150*time.Millisecond {
			t.Errorf("%d calls, %d of them at the same time, the last one after %v", n, f.most, calls[n-1])
		}
	})
}

// In trouble, the worker waits longer and longer, says so, and goes on afterwards. Batches go on
// meanwhile.
func TestTroubleWithTimers(t *testing.T) {
	t.Parallel()
	const failing = 8
	do := func(_ context.Context, call int) (versioning.Fired, error) {
		if call <= failing {
			return versioning.Fired{}, errDown
		}
		return versioning.Fired{}, nil
	}
	fireTest(t, nil, do, func(t *testing.T, f *firer, r *running) {
		r.awaitState(consumer.Troubled, time.Second)
		if h := r.worker.Health(); !errors.Is(h.Err, errDown) || h.Reason != "timers can't be fired; retrying" {
			t.Errorf("the worker is %+v", h)
		}
		began := time.Now()
		r.awaitState(consumer.Consuming, time.Minute)
		if took := time.Since(began); took < time.Second || took > 20*time.Second {
			t.Errorf("%d failures took %v", failing, took)
		}
		if n := len(r.logs.matching("timers can't be fired", errDown.Error())); n == 0 || n > failing {
			t.Errorf("%d lines about it", n)
		}
	})
}

// Timers that can't be fired now do not hold up the others, and are no trouble of the worker: the
// store sets them aside. Here the first 20 are such.
func TestSetAsideTimers(t *testing.T) {
	t.Parallel()
	const aside = 20
	do := func(_ context.Context, call int) (versioning.Fired, error) {
		if call <= aside {
			return versioning.Fired{More: true}, errDown
		}
		return versioning.Fired{}, nil
	}
	change := func(cfg *consumer.Config) { cfg.Connections = 1 }
	fireTest(t, change, do, func(t *testing.T, f *firer, r *running) {
		began := time.Now()
		pass(900 * time.Millisecond)
		if calls := f.since(began); len(calls) <= aside || calls[1] == 0 {
			t.Errorf("timers were fired after %v; want all within a second, but not all at once", calls)
		}
		r.expect(consumer.Consuming)
		if n := len(r.logs.matching("a timer can't be fired now", errDown.Error())); n == 0 || n > 5 {
			t.Errorf("%d lines about it", n)
		}
		pass(time.Minute)
		r.expect(consumer.Consuming)
	})
}

// A worker that stops does not wait for a call that hangs, nor for timers that are set aside.
func TestStopWhileFiring(t *testing.T) {
	t.Parallel()
	do := func(ctx context.Context, _ int) (versioning.Fired, error) {
		<-ctx.Done()
		return versioning.Fired{More: true}, ctx.Err()
	}
	fireTest(t, nil, do, func(t *testing.T, _ *firer, r *running) {
		pass(time.Second)
		r.cancel()
		began := time.Now()
		if err := <-r.done; err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("Run = %v after %v", err, time.Since(began))
		}
		r.done <- nil
	})
}

// A negative FireEvery turns firing off.
func TestFiresNever(t *testing.T) {
	t.Parallel()
	change := func(cfg *consumer.Config) { cfg.FireEvery = -1 }
	fireTest(t, change, nil, func(t *testing.T, f *firer, r *running) {
		pass(time.Minute)
		if n := len(f.calls); n > 0 || r.worker.Health().Timers != (versioning.TimerCounts{}) {
			t.Errorf("%d calls, and counts %+v", n, r.worker.Health().Timers)
		}
	})
}

// Two workers arm timers and fire them on time: those whose entity is still in the state, each
// once.
func TestTimersOfWorkers(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	machine := statemachine.MustCompile(statemachine.Definition{
		Name: "m", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "go", To: "waiting"},
			{Event: "went", From: statemachine.In("waiting"), To: "gone"},
			{Event: "expired", From: statemachine.In("waiting"), To: "expired", After: 90 * time.Second},
		},
		Terminal: statemachine.In("gone", "expired"),
	})
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		store := versioningtest.NewMemory(versioning.Rules{Machine: machine})
		var workers []*running
		for range 2 {
			cfg := b.config(protocol, store, "orders")
			cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
				event := statemachine.Event("go")
				if r.Origin.Offset >= 10 {
					event = "went"
				}
				return []versioning.Change{{Key: fmt.Sprint(r.Origin.Partition, string(r.Key)), Event: event}}, nil
			}
			workers = append(workers, start(t, cfg))
		}
		b.produce("orders", 0, keys(10)...)
		b.produce("orders", 1, keys(10)...)
		awaitRows(t, store, 20)
		timers := store.Timers()
		first, last := timers[0].Due, timers[len(timers)-1].Due
		b.produce("orders", 0, keys(4)...)
		states := func() (n map[statemachine.State]int) {
			n = make(map[statemachine.State]int)
			for _, row := range store.Rows() {
				n[row.State]++
			}
			return n
		}
		pass(time.Until(first) - time.Millisecond)
		if n := states(); n["waiting"] != 16 || n["gone"] != 4 {
			t.Errorf("before the deadline: %v", n)
		}
		pass(time.Until(last) + 1100*time.Millisecond)
		if n := states(); n["expired"] != 16 || n["gone"] != 4 {
			t.Errorf("after the deadline: %v", n)
		}
		for e, row := range store.Rows() {
			if row.Version != 2 || len(store.History(e)) != 2 {
				t.Errorf("%v is at version %d", e, row.Version)
			}
		}
		if n := len(store.Timers()); n != 0 {
			t.Errorf("%d timers are left", n)
		}
		for _, w := range workers {
			w.stop()
		}
	})
}
