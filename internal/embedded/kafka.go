package embedded

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	defaultBrokers    = 1
	defaultPartitions = 4
)

// KafkaConfig configures the cluster. The zero value is one broker that creates
// topics on first use, with four partitions.
type KafkaConfig struct {
	// Brokers is the number of brokers. Zero or less means one.
	Brokers int

	// Partitions is the number of partitions of auto-created topics. Zero or
	// less means four.
	Partitions int

	// Topics maps the topics to create at the start to their numbers of
	// partitions; zero or less means Partitions.
	Topics map[string]int32

	// Options are additional options for kfake. They override those derived
	// from the fields above.
	Options []kfake.Opt
}

// Kafka is a running in-process cluster.
type Kafka struct {
	cluster *kfake.Cluster
	brokers []string
}

// StartKafka starts a cluster on free ports of 127.0.0.1 and returns when it is
// ready. The caller must close it.
func StartKafka(cfg KafkaConfig) (*Kafka, error) {
	cluster, err := kfake.NewCluster(cfg.options()...)
	if err != nil {
		return nil, fmt.Errorf("start an in-process Kafka cluster on 127.0.0.1: %w", err)
	}
	return &Kafka{cluster: cluster, brokers: cluster.ListenAddrs()}, nil
}

func (c KafkaConfig) options() []kfake.Opt {
	partitions := positive(c.Partitions, defaultPartitions)
	opts := []kfake.Opt{
		kfake.NumBrokers(positive(c.Brokers, defaultBrokers)),
		kfake.DefaultNumPartitions(partitions),
		kfake.AllowAutoTopicCreation(),
	}
	for topic, n := range c.Topics {
		opts = append(opts, kfake.SeedTopics(n, topic))
	}
	return append(opts, c.Options...)
}

// Brokers returns the seed broker addresses.
func (k *Kafka) Brokers() []string { return slices.Clone(k.brokers) }

// Cluster returns the underlying cluster, for fault injection.
func (k *Kafka) Cluster() *kfake.Cluster { return k.cluster }

// Close stops the cluster and discards its topics. It can be called more than
// once. The error is always nil; it makes Kafka an io.Closer.
func (k *Kafka) Close() error {
	k.cluster.Close()
	return nil
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
