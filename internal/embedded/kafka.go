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

// KafkaConfig says what broker to run. The zero value is one broker that
// creates a topic, of four partitions, when it is first asked for.
type KafkaConfig struct {
	// Brokers is how many brokers the cluster has. Zero or less means one.
	Brokers int

	// Partitions is how many partitions a topic gets that is created because
	// a client asked for it. Zero or less means four.
	Partitions int

	// Topics are created at the start, each with as many partitions as it
	// says; zero or less means Partitions.
	Topics map[string]int32

	// Options are handed to kfake after those that the fields above make, so
	// they win.
	Options []kfake.Opt
}

// Kafka is a running in-process cluster.
type Kafka struct {
	cluster *kfake.Cluster
	brokers []string
}

// StartKafka starts a cluster on free ports of 127.0.0.1. It is ready when
// StartKafka returns. The caller closes it.
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

// Brokers returns the addresses to use as seed brokers.
func (k *Kafka) Brokers() []string { return slices.Clone(k.brokers) }

// Cluster returns the cluster itself, to inject faults into.
func (k *Kafka) Cluster() *kfake.Cluster { return k.cluster }

// Close stops the cluster and forgets its topics. Closing twice does nothing.
// It never fails; it returns an error so that a Kafka is an io.Closer.
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
