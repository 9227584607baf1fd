package consumer_test

import (
	"context"
	"runtime"
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

// Run ends cleanly whenever its context is canceled: in time, with everything settled
// committed, and out of the group.
func TestCancel(t *testing.T) {
	t.Parallel()
	moments := map[string]struct {
		store     func(context.Context, []*versioning.Record) (int, error)
		before    time.Duration // from the start to the cancel
		within    time.Duration // from the cancel to the end
		committed int64
	}{
		"at once":        {nil, 0, time.Second, -1},
		"while joining":  {nil, 10 * time.Millisecond, time.Second, -1},
		"while polling":  {nil, 30 * time.Second, time.Second, 10},
		"while applying": {slow(3 * time.Second), time.Second, 4 * time.Second, 10},
		"while it hangs": {hang, 10 * time.Second, 11 * time.Second, -1},
		"while backing off": {
			func(context.Context, []*versioning.Record) (int, error) { return 0, errDown },
			30 * time.Second, 11 * time.Second, -1,
		},
		"while partly done": {
			func(context.Context, []*versioning.Record) (int, error) { return 4, errDown },
			50 * time.Millisecond, 11 * time.Second, 10,
		},
	}
	for name, tt := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, protocol consumer.Protocol) {
				b := startBroker(t)
				b.topic("orders", 1)
				b.produce("orders", 0, keys(10)...)
				store, next := newFake(), newFake()
				store.on(tt.store)
				b.guardCommits("orders", store, next)
				w := start(t, b.config(protocol, store, "orders"))
				pass(tt.before)
				if took := w.stop(); took > tt.within {
					t.Errorf("Run took %v to end, more than %v", took, tt.within)
				}
				if n := b.members(); n != 0 {
					t.Errorf("the group still has %d members", n)
				}
				if got := b.committed("orders", 0); tt.committed > 0 && got != tt.committed || tt.committed < 0 && got > 0 && store.count("orders") == 0 {
					t.Errorf("committed up to %d, want %d", got, tt.committed)
				}

				// The next worker has the partition at once, not after a session
				// timeout, and settles what is left.
				began := time.Now()
				w = start(t, b.config(protocol, next, "orders"))
				b.awaitCommitted("orders", 0, 10)
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the next worker had to wait for %v", took)
				}
				w.stop()
				for offset := range int64(10) {
					if !store.isSettled("orders", 0, offset) && !next.isSettled("orders", 0, offset) {
						t.Errorf("offset %d was lost", offset)
					}
				}
			})
		})
	}
}

func slow(d time.Duration) func(context.Context, []*versioning.Record) (int, error) {
	return func(context.Context, []*versioning.Record) (int, error) {
		pass(d)
		return -1, nil
	}
}

func hang(ctx context.Context, _ []*versioning.Record) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestNoShutdownGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, keys(10)...)
		store := newFake()
		store.on(hang)
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.ShutdownGrace = -1
		w := start(t, cfg)
		pass(5 * time.Second)
		if took := w.stop(); took > time.Second {
			t.Errorf("Run took %v to end", took)
		}
	})
}

// Run ends within a limited time if the broker has gone, was never there, or does not answer.
func TestCancelWithoutABroker(t *testing.T) {
	t.Parallel()
	consumed := func(b *broker) {
		b.produce("orders", 0, "a")
		b.awaitCommitted("orders", 0, 1)
	}
	troubles := map[string]struct {
		before, after func(b *broker) // the worker starts
		wait, within  time.Duration
	}{
		"never there": {(*broker).Close, func(*broker) {}, time.Minute, 6 * time.Second},
		"gone":        {func(*broker) {}, func(b *broker) { consumed(b); b.Close() }, time.Minute, 11 * time.Second},
		"silent":      {func(*broker) {}, func(b *broker) { consumed(b); b.fallSilent() }, 20 * time.Second, 11 * time.Second},
		"silent with a commit to make": {func(*broker) {}, func(b *broker) {
			consumed(b)
			b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: -1})
			b.produce("orders", 0, "b")
			pass(time.Second)
			b.fallSilent()
		}, 20 * time.Second, 16 * time.Second},
	}
	for name, tt := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, protocol consumer.Protocol) {
				b := startBroker(t)
				b.topic("orders", 1)
				tt.before(b)
				w := start(t, b.config(protocol, newFake(), "orders"))
				tt.after(b)
				pass(tt.wait)
				if took := w.stop(); took > tt.within {
					t.Errorf("Run took %v to end, more than %v", took, tt.within)
				}
			})
		})
	}
}

// fallSilent makes the broker take requests and answer none until the test ends.
func (b *broker) fallSilent() {
	release := make(chan struct{})
	b.t.Cleanup(func() {
		close(release)
		synctest.Wait() // kfake must have got all requests back before it is closed; it would wait for its lock for ever
	})
	b.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		b.SleepControl(func() { <-release })
		return nil, nil, false
	})
}

// While another member delays a rebalance, this worker's join waits at the broker. Run does
// not wait for it longer than leaving may take.
func TestCancelWhileAJoinWaits(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 2)
		b.produce("orders", 0, "a")
		store := newFake()
		release := make(chan struct{})
		store.on(func(context.Context, []*versioning.Record) (int, error) { <-release; return -1, nil })
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.RebalanceHold, cfg.ApplyTimeout = 50*time.Second, -1
		w1 := start(t, cfg)
		w1.awaitHolds(2, 10*time.Second)
		pass(time.Second)
		w2 := start(t, b.config(consumer.Classic, newFake(), "orders"))
		pass(10 * time.Second)
		if took := w2.stop(); took > 11*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		close(release)
		b.awaitCommitted("orders", 0, 1)
		w1.stop()
	})
}

// A Goexit in Decode, such as that of a test's FailNow, ends the goroutine that
// called Run. The worker leaves the group on the way.
func TestGoexitInDecode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "a")
		cfg := b.config(consumer.Classic, newFake(), "orders")
		cfg.Decode = func(*versioning.Record) ([]versioning.Change, error) {
			runtime.Goexit()
			return nil, nil
		}
		worker, err := consumer.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan bool)
		go func() {
			returned := false
			defer func() { ended <- returned }()
			_ = worker.Run(t.Context())
			returned = true
		}()
		if <-ended {
			t.Error("Run returned")
		}
		if n := b.members(); n != 0 {
			t.Errorf("the group still has %d members", n)
		}
		if got := b.committed("orders", 0); got > 0 {
			t.Errorf("committed up to %d", got)
		}
	})
}

// A Goexit in the store, such as one in a guard, also ends the run, even if it ends only one
// of several goroutines. No offset is committed past a record without a verdict.
func TestGoexitInApply(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"on one connection": 10, "on several": 400} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, protocol consumer.Protocol) {
				b := startBroker(t)
				b.topic("orders", 1)
				b.produce("orders", 0, keys(2*size+1)...)
				store := newFake()
				var once sync.Once
				store.on(func(context.Context, []*versioning.Record) (int, error) {
					exit := false
					once.Do(func() { exit = true })
					if exit {
						runtime.Goexit()
					}
					return -1, nil
				})
				b.guardCommits("orders", store)
				cfg := b.config(protocol, store, "orders")
				cfg.MaxBatch, cfg.Connections = size, 2
				worker, err := consumer.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = worker.Run(t.Context())
				}()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Fatal("Run has not returned")
				}
				if health := worker.Health(); health.State != consumer.Stopped || health.Err == nil {
					t.Errorf("health is %+v", health)
				}
			})
		})
	}
}
