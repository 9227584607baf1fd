package relay

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// askTimeout limits how long the relay waits for the answer of a broker that it only asks.
const askTimeout = 2 * time.Second

// batchLimits asks for the largest batches that topics take, in bytes. A batch that is too large
// fails as a whole, with messages that are not too large. Limits of topics that do not exist, or
// that the relay has no right to describe, are missing.
func batchLimits(ctx context.Context, client *kgo.Client, topics []string) (map[string]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request := kmsg.NewPtrDescribeConfigsRequest()
	for _, topic := range topics {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		resource.ConfigNames = []string{"max.message.bytes"}
		request.Resources = append(request.Resources, resource)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	limits := make(map[string]int32, len(topics))
	for _, r := range response.Resources {
		for _, c := range r.Configs {
			if c.Name != "max.message.bytes" || c.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*c.Value, 10, 32); err == nil {
				limits[r.ResourceName] = int32(n)
			}
		}
	}
	return limits, nil
}
