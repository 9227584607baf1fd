package relay

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// limitTimeout limits how long the relay asks for the limit of a topic.
const limitTimeout = 2 * time.Second

// batchLimit asks for the largest batch that a topic takes, in bytes. A batch that is too large
// fails as a whole, with messages that are not too large. 0 means unknown: the topic does not
// exist, or the relay has no right to describe it.
func batchLimit(ctx context.Context, client *kgo.Client, topic string) int32 {
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	request := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.ConfigNames = []string{"max.message.bytes"}
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return 0
	}
	for _, r := range response.Resources {
		for _, c := range r.Configs {
			if c.Name != "max.message.bytes" || c.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*c.Value, 10, 32); err == nil {
				return int32(n)
			}
		}
	}
	return 0
}
