package consumer

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ends are the bounds of a partition's log. The client tells them with records only:
// of a partition that sends none they have to be asked for.
type ends struct {
	start  int64
	stable int64 // where the first open transaction begins, or high
	high   int64
}

// The times by which a broker is asked for offsets.
const (
	atStart = -2
	atEnd   = -1
)

// Levels of isolation.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// askEnds asks the brokers for the bounds of the worker's partitions. Partitions of
// which a broker does not tell, such as one without a leader, are left out.
func (r *run) askEnds(ctx context.Context) (map[partition]ends, error) {
	owned := r.partitions.tenures()
	found := make(map[partition]ends, len(owned))
	if len(owned) == 0 {
		return found, nil
	}
	start, err := r.askOffsets(ctx, owned, atStart, readUncommitted)
	if err != nil {
		return nil, err
	}
	// The stable end comes before the other one: if the transaction ends in between, it
	// looks as if it were open, which is looked at again, and not as if all were read.
	stable, err := r.askOffsets(ctx, owned, atEnd, readCommitted)
	if err != nil {
		return nil, err
	}
	high, err := r.askOffsets(ctx, owned, atEnd, readUncommitted)
	if err != nil {
		return nil, err
	}
	for at := range owned {
		first, ok := start[at]
		last, okToo := stable[at]
		end, okAsWell := high[at]
		if ok && okToo && okAsWell {
			found[at] = ends{first, last, end}
		}
	}
	return found, nil
}

func (r *run) askOffsets(ctx context.Context, of map[partition]tenure, when int64, isolation int8) (map[partition]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.IsolationLevel = isolation
	topics := make(map[string]int)
	for at := range of {
		if _, ok := topics[at.topic]; !ok {
			topics[at.topic] = len(request.Topics)
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = at.topic
			request.Topics = append(request.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = at.id, when
		t := &request.Topics[topics[at.topic]]
		t.Partitions = append(t.Partitions, p)
	}
	offsets := make(map[partition]int64, len(of))
	var failed error
	for _, shard := range r.client.RequestSharded(ctx, request) { // one for each broker
		response, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if shard.Err != nil || !ok {
			failed = fmt.Errorf("ask for the ends of partitions: %w", shard.Err)
			continue
		}
		for _, t := range response.Topics {
			for _, p := range t.Partitions {
				if kerr.ErrorForCode(p.ErrorCode) == nil && p.Offset >= 0 {
					offsets[partition{t.Topic, p.Partition}] = p.Offset
				}
			}
		}
	}
	if len(offsets) == 0 && failed != nil {
		return nil, failed
	}
	return offsets, nil
}

// askTopicIDs asks a broker for the identities of the worker's topics.
func (r *run) askTopicIDs(ctx context.Context, client *kgo.Client) (map[string][16]byte, error) {
	response, err := r.askTopics(ctx, client)
	if err != nil {
		return nil, err
	}
	ids := make(map[string][16]byte, len(response.Topics))
	for _, t := range response.Topics {
		if t.Topic != nil && kerr.ErrorForCode(t.ErrorCode) == nil {
			ids[*t.Topic] = topicID(*t.Topic, t.TopicID)
		}
	}
	return ids, nil
}

// askTopics asks a broker what it knows of the worker's topics.
func (r *run) askTopics(ctx context.Context, client *kgo.Client) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, topic := range r.cfg.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(topic)
		request.Topics = append(request.Topics, t)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("ask for the topics: %w", err)
	}
	return response, nil
}
