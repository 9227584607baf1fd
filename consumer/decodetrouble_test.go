package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

var errNoRegistry = errors.New("the registry does not answer")

// A registry is what decoding needs in these tests. While it is down, the records whose key
// it was asked for can't be decoded.
type registry struct {
	down  atomic.Bool
	asked atomic.Int64 // attempts that failed
}

// decode needs the registry for the keys that begin with "k5".
func (g *registry) decode(r *versioning.Record) ([]versioning.Change, error) {
	if g.down.Load() && strings.HasPrefix(string(r.Key), "k5") {
		g.asked.Add(1)
		return nil, versioning.Trouble(fmt.Errorf("schema 7: %w", errNoRegistry))
	}
	return decodeKey(r)
}

func someKeys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("k%d", i)
	}
	return all
}

// While a record can't be decoded, the worker is troubled, retries with growing waits, and
// settles nothing of the record's batch. Then it settles all, in order.
func TestDecodeTrouble(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, someKeys(10)...)
		store, reg := newFake(), new(registry)
		reg.down.Store(true)
		var hook troubles
		cfg := b.config(protocol, store, "orders")
		cfg.Decode, cfg.Hooks = reg.decode, []consumer.Hook{&hook}
		w := start(t, cfg)
		await(t, time.Minute, func() error {
			if h := w.worker.Health(); h.State != consumer.Troubled || !errors.Is(h.Err, errNoRegistry) {
				return fmt.Errorf("health %+v", h)
			}
			return nil
		})
		pass(5 * time.Minute)
		h := w.worker.Health()
		if h.State != consumer.Troubled || h.Reason != "records can't be decoded; retrying" || h.Partition != "orders/0" || !h.Live() || h.Ready() {
			t.Errorf("health %+v", h)
		}
		if since := time.Since(h.Since); since < 5*time.Minute {
			t.Errorf("troubled for %v", since)
		}
		if n := reg.asked.Load(); n < 20 || n > 60 { // every 10 seconds, with some jitter, after the first
			t.Errorf("%d attempts in 5 minutes", n)
		}
		if got := hook.n.Load(); got != reg.asked.Load() {
			t.Errorf("%d calls of Trouble for %d attempts", got, reg.asked.Load())
		}
		if n := store.count("orders"); n != 0 || len(b.seenCommits()) != 0 {
			t.Errorf("%d records settled, %d commits", n, len(b.seenCommits()))
		}
		reg.down.Store(false)
		b.awaitCommitted("orders", 0, 10)
		if h := w.worker.Health(); h.State != consumer.Consuming {
			t.Errorf("health %+v afterwards", h)
		}
		if lines := w.logs.matching("records can't be decoded; retrying"); len(lines) == 0 {
			t.Error("the trouble is not logged")
		}
		if lines := w.logs.matching("records can be decoded again"); len(lines) != 1 {
			t.Errorf("its end is logged %d times", len(lines))
		}
		w.stop()
		once(t, store, 10)
	})
}

// troubles counts the calls of a hook.
type troubles struct{ n atomic.Int64 }

func (h *troubles) Trouble(context.Context, error, time.Duration) { h.n.Add(1) }

// once checks that a store has settled n records, each once.
func once(t *testing.T, store *fake, n int) {
	t.Helper()
	if len(store.settled) != n {
		t.Errorf("%d records settled, want %d", len(store.settled), n)
	}
	for origin, times := range store.settled {
		if times != 1 {
			t.Errorf("%v was settled %d times", origin, times)
		}
	}
}

// The order of an entity's records stays the same, across the record that had to wait.
func TestDecodeTroubleKeepsTheOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "a", "k5+a", "a", "k5+a", "a")
		store, reg := newFake(), new(registry)
		reg.down.Store(true)
		cfg := b.config(protocol, store, "orders")
		cfg.Decode = reg.decode
		w := start(t, cfg)
		pass(time.Minute)
		reg.down.Store(false)
		b.awaitCommitted("orders", 0, 5)
		w.stop()
		var want []string
		for i := range 5 {
			want = append(want, fmt.Sprintf("orders/0@%d", i))
		}
		if got := store.order["a"]; !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
	})
}

// A batch that is being applied is settled and committed while the next one can't be decoded.
func TestDecodeTroubleOfTheNextBatch(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "a", "b", "c", "k5", "d")
		store, reg := newFake(), new(registry)
		reg.down.Store(true)
		cfg := b.config(protocol, store, "orders")
		cfg.Decode, cfg.MaxBatch = reg.decode, 1
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 3)
		pass(time.Minute)
		if n := store.count("orders"); n != 3 {
			t.Errorf("%d records settled before the one that can't be decoded", n)
		}
		if h := w.worker.Health(); h.State != consumer.Troubled || h.Lag != 2 {
			t.Errorf("health %+v", h)
		}
		reg.down.Store(false)
		b.awaitCommitted("orders", 0, 5)
		w.stop()
		once(t, store, 5)
	})
}

// Run returns at once although a record can't be decoded. Nothing of its batch is settled.
func TestShutdownDuringDecodeTrouble(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 4)
		for p := range int32(4) {
			b.produce("orders", p, slices.Repeat([]string{"k5"}, 10)...)
		}
		store, reg := newFake(), new(registry)
		reg.down.Store(true)
		cfg := b.config(protocol, store, "orders")
		cfg.Decode = reg.decode
		w := start(t, cfg)
		pass(time.Minute)
		asked := reg.asked.Load()
		if took := w.stop(); took > time.Second {
			t.Errorf("Run took %v to return", took)
		}
		if n := reg.asked.Load() - asked; n != 0 {
			t.Errorf("%d attempts after Run was stopped", n)
		}
		if n := store.count("orders"); n != 0 || b.committed("orders", 0) > 0 {
			t.Errorf("%d records settled, %d committed", n, b.committed("orders", 0))
		}
		reg.down.Store(false)
		w = start(t, cfg)
		for p := range int32(4) {
			b.awaitCommitted("orders", p, 10)
		}
		w.stop()
		once(t, store, 40)
	})
}

// A second worker gets its partitions while the first can't decode. The first drops their
// records and asks no more for them.
func TestRebalanceDuringDecodeTrouble(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 4)
		for p := range int32(4) {
			b.produce("orders", p, slices.Repeat([]string{"k5"}, 50)...)
		}
		first, second := newFake(), newFake()
		var down, up registry
		down.down.Store(true)
		cfg := b.config(protocol, first, "orders")
		cfg.Decode = down.decode
		cfg.RebalanceHold = 10 * time.Minute
		w1 := start(t, cfg)
		w1.awaitHolds(4, 10*time.Second)
		pass(time.Minute)
		cfg = b.config(protocol, second, "orders")
		cfg.Decode = up.decode
		w2 := start(t, cfg)
		w2.awaitHolds(2, 15*time.Second)
		second.awaitCount(t, "orders", 100)
		if n := first.count("orders"); n != 0 {
			t.Errorf("the first worker has settled %d records", n)
		}
		down.down.Store(false)
		first.awaitCount(t, "orders", 100)
		for p := range int32(4) {
			b.awaitCommitted("orders", p, 50)
		}
		w1.stop()
		w2.stop()
		for origin := range first.settled {
			if second.settled[origin] > 0 {
				t.Fatalf("%v was settled by both workers", origin)
			}
		}
		once(t, first, 100)
		once(t, second, 100)
	})
}

// If the partition of the record is taken away, the worker goes on with the others, although
// the record still can't be decoded. Only with the classic protocol: kfake's assignor for the other
// one may take a partition away that the new member can't have, and give it back.
func TestPartitionIsTakenDuringDecodeTrouble(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("taken", 1)
		b.topic("kept", 1)
		b.produce("taken", 0, slices.Repeat([]string{"k5"}, 20)...)
		b.produce("kept", 0, slices.Repeat([]string{"k1"}, 20)...)
		first, second := newFake(), newFake()
		var down, up registry
		down.down.Store(true)
		cfg := b.config(consumer.Classic, first, "taken", "kept")
		cfg.Decode = down.decode
		w1 := start(t, cfg)
		w1.awaitHolds(2, 10*time.Second)
		pass(time.Minute)
		if n := first.count("kept"); n != 0 {
			t.Errorf("%d records of the batch were settled", n)
		}
		before := down.asked.Load()
		cfg = b.config(consumer.Classic, second, "taken")
		cfg.Decode = up.decode
		w2 := start(t, cfg)
		second.awaitCount(t, "taken", 20)
		first.awaitCount(t, "kept", 20)
		if n := down.asked.Load() - before; n > 3 {
			t.Errorf("%d attempts: the worker asks for records that it no longer owns", n)
		}
		if h := w1.worker.Health(); h.State != consumer.Consuming {
			t.Errorf("health %+v", h)
		}
		w1.stop()
		w2.stop()
		b.awaitCommitted("taken", 0, 20)
		b.awaitCommitted("kept", 0, 20)
		once(t, first, 20)
		once(t, second, 20)
	})
}

// A hook that panics during the trouble ends Run, as any other panic of a hook.
func TestHookPanicsDuringDecodeTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "k5")
		store, reg := newFake(), new(registry)
		reg.down.Store(true)
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Decode, cfg.Hooks = reg.decode, []consumer.Hook{panicking{}}
		err := start(t, cfg).wait()
		if p, ok := errors.AsType[*consumer.PanicError](err); !ok || p.Callback != "Hooks[0].Trouble" {
			t.Errorf("Run = %v", err)
		}
		if n := store.count("orders"); n != 0 {
			t.Errorf("%d records settled", n)
		}
	})
}

type panicking struct{}

func (panicking) Trouble(context.Context, error, time.Duration) { panic("hook") }
