package contend

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeOnly reads, and does nothing: what Kafka and its client alone allow.
func consumeOnly(ctx context.Context, job Job, m *meter) error {
	client, err := kgo.NewClient(consume(job, m)...)
	if err != nil {
		return fmt.Errorf("make the Kafka client: %w", err)
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
