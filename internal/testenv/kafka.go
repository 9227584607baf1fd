package testenv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicTimeout bounds the creation of a topic, and its deletion.
const topicTimeout = 30 * time.Second

var errNoLeader = errors.New("a partition has no leader yet")

// Brokers returns the addresses of the brokers to use as seeds.
func Brokers(tb testing.TB) []string {
	tb.Helper()
	server, err := shared.kafka()
	if err != nil {
		tb.Fatalf("testenv: no Kafka for this test: %v", err)
	}
	return strings.Split(server.address, ",")
}

// KafkaOpts returns the options that a client of the brokers needs.
func KafkaOpts(tb testing.TB) []kgo.Opt {
	tb.Helper()
	return []kgo.Opt{kgo.SeedBrokers(Brokers(tb)...)}
}

// Topic creates a topic that is the test's own and is deleted when the test
// ends. It can be produced to when Topic returns.
func Topic(tb testing.TB, partitions int32) string {
	tb.Helper()
	opts := KafkaOpts(tb)
	topic := uniqueName(tb.Name())
	if err := createTopic(opts, topic, partitions); err != nil {
		tb.Fatalf("testenv: create the topic %s with %d partitions: %v", topic, partitions, err)
	}
	tb.Cleanup(func() {
		if err := deleteTopic(opts, topic); err != nil {
			tb.Errorf("testenv: delete the topic %s: %v", topic, err)
		}
	})
	return topic
}

func createTopic(opts []kgo.Opt, topic string, partitions int32) error {
	return withAdmin(opts, func(ctx context.Context, admin *kadm.Client) error {
		// A replication factor of -1 is the broker's default.
		if _, err := admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil {
			return err
		}
		return poll(ctx, 10*time.Millisecond, func() error { return led(ctx, admin, topic, partitions) })
	})
}

// led says what a topic lacks to be produced to: brokers learn of a new topic
// one after the other.
func led(ctx context.Context, admin *kadm.Client, topic string, partitions int32) error {
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	found := topics[topic]
	if found.Err != nil {
		return found.Err
	}
	for _, p := range found.Partitions {
		if p.Err != nil || p.Leader < 0 {
			return fmt.Errorf("partition %d: %w", p.Partition, errors.Join(errNoLeader, p.Err))
		}
	}
	if len(found.Partitions) < int(partitions) {
		return errNoLeader
	}
	return nil
}

func deleteTopic(opts []kgo.Opt, topic string) error {
	return withAdmin(opts, func(ctx context.Context, admin *kadm.Client) error {
		_, err := admin.DeleteTopic(ctx, topic)
		return err
	})
}

// withAdmin lends an admin client that is closed afterwards.
func withAdmin(opts []kgo.Opt, use func(context.Context, *kadm.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), topicTimeout)
	defer cancel()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	return use(ctx, kadm.NewClient(client))
}
