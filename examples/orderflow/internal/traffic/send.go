package traffic

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Sent is a record and the place that the broker gave it.
type Sent struct {
	Record
	Place Place
}

// A Place is where a record is in its topic.
type Place struct {
	Partition int32
	Offset    int64
}

// Send writes records to a topic, in their order, and returns once the broker
// has them all. The key is the order's, so that the records of one order are in
// one partition.
func Send(ctx context.Context, client *kgo.Client, topic string, records []Record) ([]Sent, error) {
	out := make([]*kgo.Record, len(records))
	for i, r := range records {
		out[i] = &kgo.Record{
			Topic: topic,
			Key:   []byte(r.Message.Order),
			Value: r.Value(),
			Headers: []kgo.RecordHeader{
				{Key: "ce_id", Value: []byte(r.ID)},
				{Key: "ce_type", Value: []byte(r.Message.Event)},
				{Key: "ce_source", Value: []byte(source)},
			},
		}
	}
	if err := client.ProduceSync(ctx, out...).FirstErr(); err != nil {
		return nil, fmt.Errorf("produce to topic %q: %w", topic, err)
	}
	sent := make([]Sent, len(records))
	for i, r := range records {
		sent[i] = Sent{Record: r, Place: Place{out[i].Partition, out[i].Offset}}
	}
	return sent, nil
}
