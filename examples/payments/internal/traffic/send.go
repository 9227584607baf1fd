package traffic

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Sent is a record and its place in the topic.
type Sent struct {
	Record
	Place Place
}

// A Place is the partition and offset of a record.
type Place struct {
	Partition int32
	Offset    int64
}

// Send produces records to a topic in order and returns when the broker has
// acknowledged all of them.
func Send(ctx context.Context, client *kgo.Client, topic string, records []Record) ([]Sent, error) {
	out := make([]*kgo.Record, len(records))
	for i, r := range records {
		out[i] = &kgo.Record{
			Topic: topic,
			Key:   []byte(r.Key),
			Value: r.Value(),
			Headers: []kgo.RecordHeader{
				{Key: "ce_id", Value: []byte(r.ID)},
				{Key: "ce_type", Value: []byte(r.Message.Type)},
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
