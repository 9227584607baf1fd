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

	"github.com/pawl-go/pawl/internal/testdb"
)

// topicTimeout limits the creation and the deletion of a topic.
const topicTimeout = 30 * time.Second

var errNoLeader = errors.New("a partition has no leader yet")

// Brokers returns the seed broker addresses.
func Brokers(tb testing.TB) []string {
	tb.Helper()
	server, err := shared.kafka()
	if err != nil {
		tb.Fatalf("testenv: get a Kafka broker: %v", err)
	}
	return strings.Split(server.address, ",")
}

// KafkaOpts returns the client options that connect to the brokers.
func KafkaOpts(tb testing.TB) []kgo.Opt {
	tb.Helper()
	return []kgo.Opt{kgo.SeedBrokers(Brokers(tb)...)}
}

// Topic creates a topic for this test and deletes it when the test ends. When
// Topic returns, the topic accepts records.
func Topic(tb testing.TB, partitions int32) string {
	tb.Helper()
	opts := KafkaOpts(tb)
	topic := testdb.UniqueName(tb.Name())
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
		// A replication factor of -1 means the broker's default.
		if _, err := admin.CreateTopic(ctx, partitions, -1, nil, topic); err != nil {
			return err
		}
		return testdb.Poll(ctx, 10*time.Millisecond, func() error { return checkLeaders(ctx, admin, topic, partitions) })
	})
}

// checkLeaders returns an error until every partition has a leader on every broker:
// brokers learn of a new topic one after another.
func checkLeaders(ctx context.Context, admin *kadm.Client, topic string, partitions int32) error {
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

// withAdmin calls use with an admin client and closes it.
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
