package measure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/bench/internal/contend"
	"github.com/pawl-go/pawl/bench/internal/traffic"
)

// A broker is the Kafka cluster and the topics and groups created on it.
type broker struct {
	client *kgo.Client
	admin  *kadm.Client
	topics []string
	groups []string
}

func openBroker(ctx context.Context, seeds []string) (*broker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(50_000),
		kgo.MetadataMinAge(100*time.Millisecond)) // topics are used as soon as they are created
	if err != nil {
		return nil, fmt.Errorf("create the Kafka client: %w", err)
	}
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	return &broker{client: client, admin: kadm.NewClient(client)}, nil
}

// create creates a topic.
func (b *broker) create(ctx context.Context, topic string) error {
	if _, err := b.admin.CreateTopic(ctx, contend.Partitions, -1, nil, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	b.topics = append(b.topics, topic)
	return nil
}

// fill creates a topic and produces events to it, by key. It returns their
// number. Each event gets a note of noteSize bytes that hardly compresses.
func (b *broker) fill(ctx context.Context, topic string, events iter.Seq[traffic.Event], noteSize int) (n int, err error) {
	if err := b.create(ctx, topic); err != nil {
		return 0, err
	}
	var failed failure
	for event := range events {
		b.client.Produce(ctx, traffic.Record(topic, event, note(noteSize)), failed.note)
		n++
	}
	return n, errors.Join(b.client.Flush(ctx), failed.get())
}

// send produces the events to an existing topic, each when it is due.
func (b *broker) send(ctx context.Context, topic string, events iter.Seq[traffic.Event], rate int) error {
	var failed failure
	start, n := time.Now(), 0
	for event := range events {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		n++
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		r := traffic.Record(topic, event, "")
		traffic.Due(r, due)
		b.client.Produce(ctx, r, failed.note)
	}
	return errors.Join(b.client.Flush(ctx), failed.get())
}

func note(size int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	var text strings.Builder
	for range size {
		text.WriteByte(letters[rand.IntN(len(letters))])
	}
	return text.String()
}

// A failure keeps the first produce error.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) note(_ *kgo.Record, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && err != nil {
		f.err = fmt.Errorf("produce: %w", err)
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// remove deletes a topic.
func (b *broker) remove(ctx context.Context, topic string) error {
	if _, err := b.admin.DeleteTopic(ctx, topic); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}

// close deletes what was created, as far as possible.
func (b *broker) close(ctx context.Context) error {
	defer b.client.Close()
	_, groups := b.admin.DeleteGroups(ctx, b.groups...)
	_, topics := b.admin.DeleteTopics(ctx, b.topics...)
	return errors.Join(groups, topics)
}
