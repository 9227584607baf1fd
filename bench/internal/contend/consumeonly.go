package contend

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeOnly reads records and does nothing with them. It measures the limit
// of Kafka and its client.
func consumeOnly(ctx context.Context, job Job, m *meter) error {
	client, err := kgo.NewClient(consume(job, m)...)
	if err != nil {
		return fmt.Errorf("create the Kafka client: %w", err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("poll: %w", err)
		}
		m.settle(fetches.NumRecords())
	}
	return nil
}
