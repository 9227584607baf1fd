package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaTimeout limits how long status waits for Kafka.
const kafkaTimeout = 10 * time.Second

// addLag reads the ends of the partitions from Kafka. A mark of a topic that was re-created, or of
// a partition that Kafka does not have, gets no lag.
func (v *statusView) addLag(ctx context.Context, opts []kgo.Opt, advice func(error) string) error {
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
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	admin := kadm.NewClient(client)
	details, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("read the topics from Kafka; %s: %w", advice(err), err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil && len(ends) == 0 {
		return fmt.Errorf("read the ends of the topics from Kafka; %s: %w", advice(err), err)
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
