package consumer_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// However a store fails, no commit ever goes past a record that it has not settled. In the
// end everything is settled and committed.
func TestCommitNeverPassesAnOpenRecord(t *testing.T) {
	t.Parallel()
	stores := map[string]func(store *fake) func(context.Context, []*versioning.Record) (int, error){
		"one record a time": func(*fake) func(context.Context, []*versioning.Record) (int, error) {
			return func(context.Context, []*versioning.Record) (int, error) { return 1, nil }
		},
		"half and an error": func(*fake) func(context.Context, []*versioning.Record) (int, error) {
			return func(_ context.Context, records []*versioning.Record) (int, error) {
				if len(records) == 1 {
					return 1, nil
				}
				return len(records) / 2, errDown
			}
		},
		"all and an error": func(*fake) func(context.Context, []*versioning.Record) (int, error) {
			return func(_ context.Context, records []*versioning.Record) (int, error) { return len(records), errDown }
		},
		"some lists only": func(*fake) func(context.Context, []*versioning.Record) (int, error) {
			began := time.Now()
			return func(_ context.Context, records []*versioning.Record) (int, error) {
				if keysOf(records)["k7"] && time.Since(began) < time.Minute {
					return 0, errDown
				}
				return -1, nil
			}
		},
		"blocks": func(*fake) func(context.Context, []*versioning.Record) (int, error) {
			began := time.Now()
			return func(ctx context.Context, _ []*versioning.Record) (int, error) {
				if time.Since(began) < time.Minute {
					<-ctx.Done() // a connection that hangs: ApplyTimeout ends it
					return 0, ctx.Err()
				}
				return -1, nil
			}
		},
	}
	for name, before := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startBroker(t)
				b.topic("orders", 2)
				b.produce("orders", 0, keys(300)...)
				b.produce("orders", 1, keys(300)...)
				store := newFake()
				store.on(before(store))
				b.guardCommits("orders", store)
				cfg := b.config(consumer.Classic, store, "orders")
				cfg.RetryMax = time.Second
				w := start(t, cfg)
				await(t, 20*time.Minute, func() error {
					if b.committed("orders", 0) != 300 || b.committed("orders", 1) != 300 {
						return errDown
					}
					return nil
				})
				w.stop()
			})
		})
	}
}

// A failed commit does not end Run, and a later commit covers its offsets, even if no more
// records arrive.
func TestCommitFailures(t *testing.T) {
	t.Parallel()
	faults := map[string]struct {
		protocol consumer.Protocol
		err      *kerr.Error
	}{
		"rebalance":      {consumer.Classic, kerr.RebalanceInProgress},
		"generation":     {consumer.Classic, kerr.IllegalGeneration},
		"unknown member": {consumer.Classic, kerr.UnknownMemberID},
		"coordinator":    {consumer.Classic, kerr.NotCoordinator},
		"loading":        {consumer.Classic, kerr.CoordinatorLoadInProgress},
		"timeout":        {consumer.Classic, kerr.RequestTimedOut},
		"unknown":        {consumer.Classic, kerr.UnknownServerError},

		"848 stale epoch":    {consumer.Consumer, kerr.StaleMemberEpoch},
		"848 unknown member": {consumer.Consumer, kerr.UnknownMemberID},
		"848 fenced":         {consumer.Consumer, kerr.FencedMemberEpoch},
		"848 coordinator":    {consumer.Consumer, kerr.NotCoordinator},
	}
	for name, tt := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startBroker(t)
				b.topic("orders", 1)
				store := newFake()
				b.guardCommits("orders", store)
				w := start(t, b.config(tt.protocol, store, "orders"))
				b.produce("orders", 0, "a")
				b.awaitCommitted("orders", 0, 1)
				fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: tt.err, Count: 3})
				b.produce("orders", 0, "b", "c")
				store.awaitCount(t, "orders", 3)
				if err := fault.Wait(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				b.awaitCommitted("orders", 0, 3)
				w.stop()
			})
		})
	}
}

// The broker takes a commit and does not answer: the attempt ends by itself.
func TestCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		w := start(t, b.config(protocol, newFake(), "orders"))
		b.produce("orders", 0, "a")
		b.awaitCommitted("orders", 0, 1)
		hung, release := b.hangCommit()
		b.produce("orders", 0, "b")
		<-hung
		pass(15 * time.Second) // after 10 s the client sends the commit again
		release()
		b.produce("orders", 0, "c")
		b.awaitCommitted("orders", 0, 3)
		lines := w.logs.matching("commit of offsets failed")
		if len(lines) == 0 {
			t.Error("nothing was logged")
		}
		for _, line := range lines {
			if strings.Contains(line, "partition=-1") {
				t.Errorf("logged: %s", line)
			}
		}
		w.stop()
	})
}

// Brokers before OffsetCommit 10 answer by topic name, newer ones by topic ID. With both, the
// worker does not repeat a commit that succeeded.
func TestCommitIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]*kversion.Versions{"by name": kversion.V3_9_0(), "by ID": kversion.Stable()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startBroker(t, kfake.MaxVersions(versions))
				b.topic("orders", 2)
				cfg := b.config(consumer.Classic, newFake(), "orders")
				w := start(t, cfg)
				for p := range int32(2) {
					b.produce("orders", p, "a")
					b.awaitCommitted("orders", p, 1)
				}
				pass(10 * time.Minute)
				w.stop()
				if commits := b.seenCommits(); len(commits) != 2 {
					t.Errorf("%d commits of 2 batches: %v", len(commits), commits)
				}
			})
		})
	}
}

// A commit may be in flight when the group takes the partition away. The worker commits
// nothing for the partition after that: the next owner finds what is settled already.
func TestNoCommitAfterPartitionsAreLost(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		store := newFake()
		first := start(t, b.config(protocol, store, "orders"))
		b.produce("orders", 0, "a")
		b.produce("orders", 1, "a")
		b.awaitCommitted("orders", 0, 1)
		b.awaitCommitted("orders", 1, 1)

		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: -1})
		b.produce("orders", 0, "b")
		b.produce("orders", 1, "b")
		store.awaitCount(t, "orders", 4)
		member := b.seenCommits()[0].member
		second := start(t, b.config(protocol, store, "orders"))
		second.awaitHolds(1, time.Minute)
		lost := int32(0)
		if len(second.logs.matching("partitions assigned", "partitions=[1]")) > 0 {
			lost = 1
		}
		before := len(b.seenCommits())
		fault.Remove()
		b.awaitCommitted("orders", 0, 2)
		b.awaitCommitted("orders", 1, 2)
		pass(time.Minute)
		for _, c := range b.seenCommits()[before:] {
			if c.partition == lost && c.member == member {
				t.Errorf("the first worker committed partition %d up to %d after it was taken away", lost, c.offset)
			}
		}
		first.stop()
		second.stop()
	})
}

// No partition is given up while a commit is in flight: the next owner would start before it,
// or the commit could overwrite the next owner's.
func TestPartitionsWaitForACommit(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "500"}))
		b.topic("orders", 2)
		cfg := b.config(consumer.Consumer, newFake(), "orders") // in the classic protocol kgo itself waits
		cfg.RebalanceHold = time.Millisecond
		w1 := start(t, cfg)
		w1.awaitHolds(2, 10*time.Second)
		// The client tries again and again, with heartbeats in between.
		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
		b.produce("orders", 0, "a")
		b.produce("orders", 1, "a")
		if err := fault.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w2 := start(t, b.config(consumer.Consumer, newFake(), "orders"))
		pass(4 * time.Second)
		if b.members() != 2 || w1.revoked() != 0 {
			t.Errorf("with %d members, %d partitions were given up during a commit", b.members(), w1.revoked())
		}
		fault.Remove()
		w2.awaitHolds(1, 30*time.Second)
		w1.stop()
		w2.stop()
	})
}

// hangCommit makes the broker hold the next commit until it is released. Later commits on
// other connections must not wait for it in the control function: the broker would wait with
// them and could not wake the first one.
func (b *broker) hangCommit() (hung <-chan struct{}, release func()) {
	began, end := make(chan struct{}), make(chan struct{})
	var isHung atomic.Bool
	b.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if isHung.CompareAndSwap(false, true) {
			close(began)
			b.SleepControl(func() { <-end })
		}
		return nil, nil, false
	})
	return began, func() { close(end) }
}

// Successive small batches share a commit: a broker gets about ten a second, and the last one
// within a tenth of a second.
func TestCommitsArePaced(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		w := start(t, b.config(protocol, store, "orders"))
		b.produce("orders", 0, "first")
		b.awaitCommitted("orders", 0, 1)
		pass(time.Second)
		began, before := time.Now(), len(b.seenCommits())
		const records = 1000
		for range records {
			b.produce("orders", 0, "a")
			pass(2 * time.Millisecond)
		}
		took := time.Since(began)
		b.awaitCommitted("orders", 0, 1+records)
		commits := len(b.seenCommits()) - before
		if most := int(took/(100*time.Millisecond)) + 2; commits > most {
			t.Errorf("%d commits in %v, more than %d", commits, took, most)
		}
		w.stop()
		if n := store.count("orders"); n != 1+records {
			t.Errorf("%d records settled, want %d", n, 1+records)
		}
	})
}
