package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A sweeper is a store that checks the workers' readings: if a worker says that it has read a
// partition until some time, all records produced before that time must be settled.
type sweeper struct {
	*fake

	t        *testing.T
	mu       sync.Mutex
	produced map[int32][]time.Time // by partition and offset
	until    map[int32]time.Time   // as last reported
	reported map[int32]bool        // whether the partition was in the last sweep
}

func newSweeper(t *testing.T) *sweeper {
	t.Helper()
	return &sweeper{
		fake: newFake(), t: t,
		produced: make(map[int32][]time.Time), until: make(map[int32]time.Time), reported: make(map[int32]bool),
	}
}

func (s *sweeper) Sweep(_ context.Context, read versioning.Reading) (versioning.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if read.Pause <= 0 {
		s.t.Errorf("Pause is %v", read.Pause)
	}
	clear(s.reported)
	for _, p := range read.Partitions {
		s.reported[p.Partition] = true
		if p.TopicID == [16]byte{} {
			s.t.Errorf("partition %d is reported without its topic", p.Partition)
		}
		if p.Until.IsZero() {
			continue
		}
		s.until[p.Partition] = p.Until
		for offset, at := range s.produced[p.Partition] {
			// In fake time, a record may be produced after the sweep at the same instant.
			if at.Before(p.Until) && !s.isSettled("orders", p.Partition, int64(offset)) {
				s.t.Errorf("partition %d is said to be read until %v, and offset %d, of %v, is not settled",
					p.Partition, p.Until.Format(time.TimeOnly), offset, at.Format(time.TimeOnly))
				break
			}
		}
	}
	return versioning.Swept{At: time.Now()}, nil
}

// produce writes n records to a partition and keeps their times.
func (s *sweeper) produce(b *broker, partition int32, n int) {
	b.produce("orders", partition, keys(n)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.produced[partition] = append(s.produced[partition], time.Now())
	}
}

func (s *sweeper) tellsOf(partition int32) (until time.Time, reported bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[partition], s.reported[partition]
}

func (s *sweeper) awaitUntil(partition int32, at time.Time) {
	s.t.Helper()
	await(s.t, 2*time.Minute, func() error {
		if until, _ := s.tellsOf(partition); until.Before(at) {
			return fmt.Errorf("partition %d is read until %v, not %v", partition, until.Format(time.TimeOnly), at.Format(time.TimeOnly))
		}
		return nil
	})
}

// A worker reports how far it has read: idle and empty partitions too, and partitions with a
// backlog once that is settled. After a crash the next worker continues from there.
func TestClock(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 3)
		store := newSweeper(t)
		store.produce(b, 0, 100)
		cfg := b.config(protocol, store, "orders")
		cfg.SweepEvery, cfg.MaxBatch, cfg.ShutdownGrace = 10*time.Second, 10, -1
		w := start(t, cfg)
		for p := range int32(3) {
			store.awaitUntil(p, time.Now())
		}
		var down sync.Map // partitions whose records can't be settled
		store.on(func(_ context.Context, records []*versioning.Record) (int, error) {
			for i, r := range records {
				if _, ok := down.Load(r.Origin.Partition); ok {
					return i, errDown
				}
			}
			return -1, nil
		})
		down.Store(int32(0), true)
		store.produce(b, 0, 30) // a backlog
		stuck := time.Now()
		pass(3 * time.Minute)
		if until, reported := store.tellsOf(0); until.After(stuck) || !reported {
			t.Errorf("with a backlog of %v the partition is read until %v (reported: %v)", stuck, until, reported)
		}
		if until, _ := store.tellsOf(1); until.Before(stuck) {
			t.Errorf("the partition without a backlog is read until %v only", until)
		}
		w.cancel() // gives the batch up
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		pass(time.Hour)
		store.produce(b, 0, 20)
		produced := time.Now()
		second := start(t, cfg)
		await(t, time.Minute, func() error {
			if _, reported := store.tellsOf(0); !reported {
				return errors.New("the second worker reports nothing")
			}
			return nil
		})
		pass(time.Minute)
		if until, _ := store.tellsOf(0); until.After(stuck) {
			t.Errorf("the second worker has read until %v", until)
		}
		down.Delete(int32(0))
		store.awaitUntil(0, produced.Add(time.Second))
		second.stop()
	})
}

// A worker reports its partitions as soon as it owns them, not at its first tick: until then
// the store does not know that they may hold what parked records wait for.
func TestClockBegins(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newSweeper(t)
		cfg := b.config(protocol, store, "orders")
		cfg.SweepEvery = time.Hour
		w := start(t, cfg)
		await(t, 30*time.Second, func() error {
			if _, reported := store.tellsOf(0); !reported {
				return errors.New("the partition is not reported")
			}
			return nil
		})
		w.stop()
	})
}

// A worker that always has lag also reports how far it has read.
func TestClockUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newSweeper(t)
		store.on(func(context.Context, []*versioning.Record) (int, error) {
			pass(7 * time.Second)
			return -1, nil
		})
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.SweepEvery = 5 * time.Second
		w := start(t, cfg)
		w.awaitState(consumer.Consuming, time.Minute)
		for range 300 {
			store.produce(b, 0, 1)
			pass(time.Second)
		}
		if until, _ := store.tellsOf(0); time.Since(until) > 45*time.Second {
			t.Errorf("at %v it is read until %v", time.Now().Format(time.TimeOnly), until.Format(time.TimeOnly))
		}
		w.stop()
	})
}

// Records that an open transaction hides do not count as read.
func TestClockWithAnOpenTransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newSweeper(t)
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.SweepEvery = 10 * time.Second
		w := start(t, cfg)
		store.awaitUntil(0, time.Now())
		producer := b.newClient(kgo.TransactionalID("producer"), kgo.TransactionTimeout(15*time.Minute))
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: []byte("k")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		open := time.Now()
		pass(5 * time.Minute)
		if until, _ := store.tellsOf(0); until.After(open) {
			t.Errorf("read until %v, and the transaction is open since %v", until, open)
		}
		if err := producer.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		store.awaitUntil(0, time.Now())
		w.stop()
	})
}
