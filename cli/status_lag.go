package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaTimeout limits how long status waits for Kafka.
const kafkaTimeout = 10 * time.Second

// kafka returns the options of a Kafka client for brokers.
func (c *Config) kafka(brokers []string) []kgo.Opt {
	return append(slices.Clone(c.Client), kgo.SeedBrokers(brokers...))
}

// addLag reads the ends of the partitions from Kafka. A mark of a topic that was re-created, or of
// a partition that Kafka does not have, gets no lag.
func (v *statusView) addLag(ctx context.Context, opts []kgo.Opt) error {
	v.lagKnown = true
	var topics []string
	for i := range v.Groups {
		topics = append(topics, v.Groups[i].Topic)
	}
	if len(topics) == 0 {
		return nil
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	admin := kadm.NewClient(client)
	details, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("read the topics from Kafka; check --brokers: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil && len(ends) == 0 {
		return fmt.Errorf("read the ends of the topics from Kafka; check --brokers: %w", err)
	}
	for i := range v.Groups {
		g := &v.Groups[i]
		for j := range g.Partitions {
			p := &g.Partitions[j]
			end, ok := ends.Lookup(g.Topic, p.Partition)
			if !ok || end.Err != nil || details[g.Topic].ID != kadm.TopicID(p.topicID) {
				continue
			}
			p.Lag = new(max(0, end.Offset-p.Settled))
			if g.Lag == nil {
				g.Lag = new(int64)
			}
			*g.Lag += *p.Lag
		}
	}
	return nil
}
