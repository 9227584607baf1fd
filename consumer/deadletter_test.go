package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A copier is a store with one dead letter in each partition that was not copied yet.
type copier struct {
	*fake

	mu     sync.Mutex
	copied map[int32]int
	sweeps int
}

func (c *copier) CopyDeadLetters(ctx context.Context, from map[string][]int32, _ int,
	copyTo func(context.Context, []versioning.DeadLetter) ([]int64, error),
) (int, error) {
	var letters []versioning.DeadLetter
	c.mu.Lock()
	for _, p := range from["orders"] {
		if c.copied[p] == 0 {
			origin := versioning.Origin{Topic: "orders", Partition: p}
			letters = append(letters, versioning.DeadLetter{ID: int64(p), Record: &versioning.Record{Origin: origin}})
		}
	}
	c.mu.Unlock()
	if len(letters) == 0 {
		return 0, nil
	}
	ids, err := copyTo(ctx, letters)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		c.copied[int32(id)]++
	}
	return len(ids), err
}

func (c *copier) Sweep(context.Context, versioning.Reading) (versioning.Swept, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps++
	return versioning.Swept{At: time.Now()}, nil
}

func (c *copier) counts() (copied map[int32]int, sweeps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.copied), c.sweeps
}

// Dead letters that another worker has not copied are copied as soon as their partition is
// assigned.
func TestLettersLeftBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.topic("orders.dlq", 1)
		store := &copier{fake: newFake(), copied: make(map[int32]int)}
		cfg := b.config(protocol, store, "orders")
		cfg.DeadLetterTopic, cfg.SweepEvery = consumer.DeadLetterSuffix, time.Hour
		w := start(t, cfg)
		await(t, 30*time.Second, func() error {
			if copied, _ := store.counts(); copied[0] != 1 {
				return fmt.Errorf("copied: %v", copied)
			}
			return nil
		})
		w.stop()
	})
}

// The health reports a missing dead-letter topic, and everything else continues. Two workers
// share the copying as they share the partitions.
func TestMissingDeadLetterTopic(t *testing.T) {
	severalWorkers(t)
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 4)
		store := &copier{fake: newFake(), copied: make(map[int32]int)}
		cfg := b.config(protocol, store, "orders")
		cfg.DeadLetterTopic, cfg.SweepEvery = consumer.DeadLetterSuffix, 5*time.Second
		first, second := start(t, cfg), start(t, cfg)
		for _, w := range []*running{first, second} {
			w.awaitState(consumer.Troubled, 2*time.Minute)
			h := w.expect(consumer.Troubled)
			if !strings.HasPrefix(h.Reason, "dead letters can't be copied") || !errors.Is(h.Err, kerr.UnknownTopicOrPartition) ||
				!strings.Contains(h.Err.Error(), "orders.dlq") {
				t.Errorf("without the topic: %+v", h)
			}
		}
		_, before := store.counts()
		pass(time.Minute)
		if _, after := store.counts(); after-before < 20 {
			t.Errorf("%d sweeps in a minute of two workers that sweep every 5 s", after-before)
		}
		b.produce("orders", 0, keys(100)...)
		b.awaitCommitted("orders", 0, 100)
		b.topic("orders.dlq", 1)
		for _, w := range []*running{first, second} {
			w.awaitState(consumer.Consuming, 2*time.Minute)
		}
		await(t, time.Minute, func() error {
			copied, _ := store.counts()
			if len(copied) != 4 {
				return fmt.Errorf("copied: %v", copied)
			}
			return nil
		})
		first.stop()
		second.stop()
		for p, n := range store.copied {
			if n != 1 {
				t.Errorf("the letter of partition %d was copied %d times", p, n)
			}
		}
	})
}

// TestDeadLetterTopicCreatedAgain copies a dead letter to a topic that was deleted and created again.
func TestDeadLetterTopicCreatedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.topic("orders.dlq", 1)
		store := &copier{fake: newFake(), copied: make(map[int32]int)}
		cfg := b.config(protocol, store, "orders")
		cfg.DeadLetterTopic, cfg.SweepEvery = consumer.DeadLetterSuffix, 5*time.Second
		w := start(t, cfg)
		copied := func() {
			t.Helper()
			await(t, 5*time.Minute, func() error {
				if copied, _ := store.counts(); copied[0] != 1 {
					return fmt.Errorf("copied: %v", copied)
				}
				return nil
			})
		}
		copied()
		admin := kadm.NewClient(b.newClient())
		if _, err := admin.DeleteTopic(t.Context(), "orders.dlq"); err != nil {
			t.Fatal(err)
		}
		store.mu.Lock()
		store.copied[0] = 0 // there is another one
		store.mu.Unlock()
		w.awaitState(consumer.Troubled, 2*time.Minute)
		b.topic("orders.dlq", 1)
		copied()
		w.awaitState(consumer.Consuming, 2*time.Minute)
		w.stop()
	})
}
