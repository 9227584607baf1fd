package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicsAreSeparate(t *testing.T) {
	t.Parallel()
	first, second := Topic(t, 3), Topic(t, 1)
	if first == second {
		t.Fatalf("%s twice", first)
	}
	for topic, want := range map[string]int{first: 3, second: 1} {
		if n := partitions(t, topic); n != want {
			t.Errorf("%s has %d partitions, want %d", topic, n, want)
		}
	}
}

func TestTopicAcceptsRecordsImmediately(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient(append(KafkaOpts(t), kgo.DefaultProduceTopic(Topic(t, 2)))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr(); err != nil {
		t.Error(err)
	}
}

func TestTopicIsDeleted(t *testing.T) {
	var topic string
	t.Run("user", func(t *testing.T) { topic = Topic(t, 1) })
	Eventually(t, 10*time.Second, func() error {
		if partitions(t, topic) > 0 {
			return errors.New(topic + " still exists after its test")
		}
		return nil
	})
}

// partitions returns the number of partitions of a topic, or 0 if it does not
// exist.
func partitions(t *testing.T, topic string) (n int) {
	t.Helper()
	err := withAdmin(KafkaOpts(t), func(ctx context.Context, admin *kadm.Client) error {
		topics, err := admin.ListTopics(ctx, topic)
		n = len(topics[topic].Partitions)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
