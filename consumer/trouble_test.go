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

// holds returns how many partitions a worker holds, by its log.
func (r *running) holds() int {
	return r.partitionsIn("partitions assigned") - r.revoked() - r.partitionsIn("partitions lost")
}

// revoked returns how many partitions were taken from a worker so far.
func (r *running) revoked() int { return r.partitionsIn("partitions revoked") }

func (r *running) partitionsIn(msg string) int {
	n := 0
	for _, line := range r.logs.matching(msg) {
		_, list, _ := strings.Cut(line, "partitions=[")
		list, _, _ = strings.Cut(list, "]")
		n += len(strings.Fields(list))
	}
	return n
}

func (r *running) awaitHolds(want int, within time.Duration) {
	r.t.Helper()
	await(r.t, within, func() error {
		if got := r.holds(); got != want {
			return fmt.Errorf("worker holds %d partitions, not %d", got, want)
		}
		return nil
	})
}

// While the database is down a second worker joins: it gets its partitions
// promptly, the first one drops their records and commits nothing for them, and
// in the end nothing is lost.
func TestRebalanceWhileTheDatabaseIsDown(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 4)
		first, second := newFake(), newFake()
		down := func(context.Context, []*versioning.Record) (int, error) { return 0, errDown }
		first.on(down)
		for p := range int32(4) {
			b.produce("orders", p, keys(100)...)
		}
		cfg := b.config(protocol, first, "orders")
		cfg.RebalanceHold = 10 * time.Minute // it is for a database that answers
		w1 := start(t, cfg)
		w1.awaitHolds(4, 10*time.Second)
		pass(time.Minute) // deep in its back-off
		if n := len(b.seenCommits()); n != 0 {
			t.Errorf("%d commits while the database is down", n)
		}
		w2 := start(t, b.config(protocol, second, "orders"))
		w2.awaitHolds(2, 15*time.Second)
		second.awaitCount(t, "orders", 200)
		first.on(nil)
		first.awaitCount(t, "orders", 200)
		for p := range int32(4) {
			b.awaitCommitted("orders", p, 100)
		}
		if n := w1.revoked(); n != 2 {
			t.Errorf("%d partitions were taken from the first worker, want the 2 that moved: it is not cooperative", n)
		}
		for origin := range first.settled {
			if second.settled[origin] > 0 {
				t.Fatalf("%v was settled by both workers", origin)
			}
		}
		w1.stop()
		w2.stop()
	})
}

// A partition that is taken away and comes back while its records wait is read again. What
// was polled before is not committed.
func TestPartitionComesBackWhileTheDatabaseIsDown(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		b.produce("orders", 0, keys(10)...)
		b.produce("orders", 1, keys(10)...)
		first, second := newFake(), newFake()
		second.Other = &first.SplitByEntity
		first.on(func(context.Context, []*versioning.Record) (int, error) { return 0, errDown })
		w1 := start(t, b.config(protocol, first, "orders"))
		w1.awaitHolds(2, 10*time.Second)
		pass(time.Minute)
		w2 := start(t, b.config(protocol, second, "orders"))
		w2.awaitHolds(1, 15*time.Second)
		second.awaitCount(t, "orders", 10)
		w2.stop() // commits and leaves: the partition goes back
		w1.awaitHolds(2, 15*time.Second)
		first.on(nil)
		b.awaitCommitted("orders", 0, 10)
		b.awaitCommitted("orders", 1, 10)
		b.produce("orders", 0, "x")
		b.produce("orders", 1, "x")
		b.awaitCommitted("orders", 0, 11)
		b.awaitCommitted("orders", 1, 11)
		if got := first.count("orders"); got != 12 {
			t.Errorf("the first worker settled %d records, want 12: those of the partition that it kept, and two new ones", got)
		}
		rewound(t, b.seenCommits())
		w1.stop()
	})
}

// rewound fails the test if a partition's commits ever went back.
func rewound(t *testing.T, commits []commit) {
	t.Helper()
	at := make(map[int32]int64)
	for _, c := range commits {
		if c.offset < at[c.partition] {
			t.Errorf("partition %d was committed up to %d after %d: %v", c.partition, c.offset, at[c.partition], commits)
		}
		at[c.partition] = c.offset
	}
}

// A store that is slow, but not in trouble, delays a rebalance for at most RebalanceHold. The
// worker does not commit what the store settles after the partition is lost.
func TestSlowStoreHoldsUpARebalanceForAWhile(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		first, second := newFake(), newFake()
		release := make(chan struct{})
		var entered atomic.Bool
		first.on(func(context.Context, []*versioning.Record) (int, error) {
			entered.Store(true)
			<-release
			return -1, nil
		})
		cfg := b.config(protocol, first, "orders")
		cfg.ApplyTimeout = -1
		cfg.RebalanceHold = 20 * time.Second
		w1 := start(t, cfg)
		w1.awaitHolds(2, 10*time.Second)
		b.produce("orders", 0, keys(10)...)
		b.produce("orders", 1, keys(10)...)
		await(t, time.Minute, func() error {
			if !entered.Load() {
				return errDown
			}
			return nil
		})
		began := time.Now()
		w2 := start(t, b.config(protocol, second, "orders"))
		w2.awaitHolds(1, time.Minute)
		if took := time.Since(began); took < 15*time.Second || took > 30*time.Second {
			t.Errorf("the second worker had to wait for %v, want about 20s", took)
		}
		second.awaitCount(t, "orders", 10)
		commits := len(b.seenCommits())
		close(release)
		b.awaitCommitted("orders", 0, 10)
		b.awaitCommitted("orders", 1, 10)
		pass(time.Minute)
		for _, c := range b.seenCommits()[commits:] {
			for _, earlier := range b.seenCommits()[:commits] {
				if earlier.partition == c.partition && earlier.member != c.member {
					t.Errorf("both workers committed partition %d", c.partition)
				}
			}
		}
		w1.stop()
		w2.stop()
	})
}

// Batches are short and holds are long: the hold of one batch must not end that of a later
// one. If it did, the second worker would get its partition before the first one's batch is
// done.
func TestHoldDoesNotOutliveItsTurn(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		store := newFake()
		cfg := b.config(protocol, store, "orders")
		cfg.RebalanceHold = 10 * time.Second
		cfg.ApplyTimeout = -1
		w1 := start(t, cfg)
		w1.awaitHolds(2, 10*time.Second)
		b.produce("orders", 0, "quick") // a batch whose hold would end 10s from here
		b.awaitCommitted("orders", 0, 1)
		pass(8 * time.Second)
		release := make(chan struct{})
		store.on(func(context.Context, []*versioning.Record) (int, error) { <-release; return -1, nil })
		b.produce("orders", 0, "slow")
		pass(500 * time.Millisecond)
		w2 := start(t, b.config(protocol, newFake(), "orders"))
		pass(7 * time.Second)
		if got := w1.holds(); got != 2 {
			t.Errorf("the first worker lost a partition in the middle of its batch: it holds %d", got)
		}
		close(release)
		w2.awaitHolds(1, 15*time.Second)
		w1.stop()
		w2.stop()
	})
}

// A store that needs longer than ApplyTimeout for a batch gets fewer records at once until it
// succeeds.
func TestTooMuchForTheTime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, keys(12)...)
		store := newFake()
		store.on(func(ctx context.Context, records []*versioning.Record) (int, error) {
			select {
			case <-time.After(time.Duration(len(records)) * time.Second):
				return -1, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		cfg := b.config(protocol, store, "orders")
		cfg.ApplyTimeout = 5 * time.Second
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 12)
		w.stop()
	})
}

// Run returns a fatal error of the store. It commits nothing without a verdict, and leaves the
// group.
func TestFatalStoreError(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, keys(10)...)
		noTable := errors.Join( // the first cause is not the one that ends Run
			&versioning.Error{Cause: versioning.Infrastructure, Err: errors.New("rollback failed")},
			&versioning.Error{Cause: versioning.Fatal, Err: errors.New("relation does not exist")})
		store := newFake()
		store.on(func(context.Context, []*versioning.Record) (int, error) { return 3, fmt.Errorf("apply: %w", noTable) })
		b.guardCommits("orders", store)
		w := start(t, b.config(protocol, store, "orders"))
		err := w.wait()
		if !errors.Is(err, noTable) || !strings.Contains(err.Error(), group) {
			t.Errorf("Run = %v, want the store's error and the group", err)
		}
		if n := b.members(); n != 0 {
			t.Errorf("the group still has %d members", n)
		}
		if got := b.committed("orders", 0); got > 3 {
			t.Errorf("committed up to %d, but only 3 records have a verdict", got)
		}
	})
}

// Run returns an error if the store violates its contract: if the worker continued, it could
// lose records or loop forever.
func TestStoreBreaksItsContract(t *testing.T) {
	t.Parallel()
	stores := map[string]storeFunc{
		"settles nothing": func([]*versioning.Record) (versioning.Result, error) { return versioning.Result{}, nil },
		"decides nothing": func(records []*versioning.Record) (versioning.Result, error) {
			return versioning.Result{Outcomes: make([]versioning.Outcome, len(records))}, nil
		},
		"settles too many": func(records []*versioning.Record) (versioning.Result, error) {
			outcomes := make([]versioning.Outcome, len(records)+1)
			for i := range outcomes {
				outcomes[i].Verdict = versioning.Applied
			}
			return versioning.Result{Outcomes: outcomes}, nil
		},
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startBroker(t)
				b.topic("orders", 1)
				b.produce("orders", 0, keys(10)...)
				cfg := b.config(consumer.Classic, store, "orders")
				cfg.SweepEvery, cfg.FireEvery = -1, -1
				w := start(t, cfg)
				if err := w.wait(); err == nil || !strings.Contains(err.Error(), "contract") {
					t.Errorf("Run = %v, want an error about the store's contract", err)
				}
				if got := b.committed("orders", 0); got > 0 {
					t.Errorf("committed up to %d", got)
				}
			})
		})
	}
}

// A storeFunc is a store that is one function.
type storeFunc func([]*versioning.Record) (versioning.Result, error)

func (storeFunc) Prepare(*versioning.Record) {}

func (storeFunc) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	return new(consumer.SplitByEntity).Split(ctx, records, n)
}

func (storeFunc) Marks(ctx context.Context, group string, ids [][16]byte) ([]versioning.Mark, versioning.Server, error) {
	return new(consumer.SplitByEntity).Marks(ctx, group, ids)
}

func (storeFunc) SetMarks(context.Context, string, versioning.Server, []versioning.Mark) error {
	return nil
}

func (f storeFunc) Apply(_ context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	return f(records)
}

// While the database is down for an hour, attempts slow down, log lines are few, and the hook
// is called for each attempt. Recovery is immediate and logged.
func TestDatabaseDownForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		store.on(func(context.Context, []*versioning.Record) (int, error) { return 0, errDown })
		b.guardCommits("orders", store)
		hooks := new(hooks)
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Hooks = []consumer.Hook{hooks}
		w := start(t, cfg)
		b.produce("orders", 0, keys(400)...)
		pass(time.Hour)
		attempts := int(hooks.troubles.Load())
		if attempts < 4*300 || attempts > 4*500 {
			t.Errorf("%d attempts in an hour on four connections, want about one every ten seconds on each", attempts)
		}
		if lines := w.logs.matching("database in trouble", "error=database is down"); len(lines) < 3 || len(lines) > 70 {
			t.Errorf("%d log lines in an hour, want one a minute", len(lines))
		}
		if n := len(w.logs.matching("")); n > 100 {
			t.Errorf("%d log lines in an hour", n)
		}
		store.on(nil)
		b.awaitCommitted("orders", 0, 400)
		if n := len(w.logs.matching("database answers again")); n != 1 {
			t.Errorf("%d lines about the recovery, want 1", n)
		}
		w.stop()
		if got := hooks.records.Load(); got != 400 {
			t.Errorf("the batch hook heard of %d records, want 400", got)
		}
	})
}

// hooks implements both hooks.
type hooks struct{ troubles, records atomic.Int64 }

func (h *hooks) Trouble(_ context.Context, err error, retryIn time.Duration) {
	if errors.Is(err, errDown) && retryIn > 0 {
		h.troubles.Add(1)
	}
}

func (h *hooks) BatchEnd(_ context.Context, b consumer.Batch) {
	if len(b.Records) == len(b.Outcomes) && b.Apply >= 0 && !slices.ContainsFunc(b.Outcomes, func(o versioning.Outcome) bool {
		return o.Verdict == versioning.Undecided
	}) {
		h.records.Add(int64(len(b.Records)))
	}
}

// A dealer counts how often records were split.
type dealer struct {
	*fake

	splits atomic.Int64
}

func (d *dealer) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	d.splits.Add(1)
	return d.fake.Split(ctx, records, n)
}

// If the store asks for it, records are split again. That is not trouble, and all records are
// settled once.
func TestSplitAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, keys(2000)...)
		store := &dealer{fake: newFake()}
		var calls atomic.Int64
		store.on(func(_ context.Context, records []*versioning.Record) (int, error) {
			if calls.Add(1) <= 4 { // the lists of the first split
				return len(records) / 2, versioning.ErrSplitAgain
			}
			return -1, nil
		})
		w := start(t, b.config(protocol, store, "orders"))
		store.awaitCount(t, "orders", 2000)
		b.awaitCommitted("orders", 0, 2000)
		w.stop()
		if n := store.splits.Load(); n != 2 {
			t.Errorf("the records were split %d times, want 2", n)
		}
		if got := w.logs.matching("database in trouble"); len(got) > 0 {
			t.Errorf("trouble: %v", got)
		}
	})
}

// A nameless is a store whose server has no name.
type nameless struct{ *fake }

func (nameless) Marks(context.Context, string, [][16]byte) ([]versioning.Mark, versioning.Server, error) {
	return nil, "", nil
}

// Run returns an error if the server has no name, because nothing could ever be committed.
func TestServerWithoutName(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		w := start(t, b.config(protocol, nameless{newFake()}, "orders"))
		if err := w.wait(); err == nil || !strings.Contains(err.Error(), "contract") {
			t.Errorf("Run = %v, want an error about the store's contract", err)
		}
	})
}
