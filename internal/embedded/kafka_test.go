package embedded_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/embedded"
)

func startKafka(t *testing.T, cfg embedded.KafkaConfig) *embedded.Kafka {
	t.Helper()
	cluster, err := embedded.StartKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

func client(t *testing.T, cluster *embedded.Kafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.Brokers()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestKafkaProduceAndConsume(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, embedded.KafkaConfig{})
	c := client(t, cluster, kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics("orders"))
	sent := &kgo.Record{Topic: "orders", Key: []byte("k"), Value: []byte("v")}
	if err := c.ProduceSync(t.Context(), sent).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := c.PollFetches(t.Context())
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if got := fetches.Records(); len(got) != 1 || string(got[0].Value) != "v" {
		t.Errorf("received %v", got)
	}
}

func TestKafkaConfig(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, embedded.KafkaConfig{
		Brokers: 2, Partitions: 6, Topics: map[string]int32{"three": 3, "default": 0},
	})
	if n := len(cluster.Brokers()); n != 2 {
		t.Errorf("%d brokers, want 2", n)
	}
	topics, err := kadm.NewClient(client(t, cluster)).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for name, topic := range topics {
		got[name] = len(topic.Partitions)
	}
	if diff := cmp.Diff(map[string]int{"three": 3, "default": 6}, got); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
}

func TestKafkaCloseTwice(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, embedded.KafkaConfig{})
	for range 2 {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	}
}
