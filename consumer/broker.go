package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/kgorecord"
)

// ends are the bounds of a partition's log. The client reports them only with records, so
// the worker asks for those of a partition from which no records arrive.
type ends struct {
	start  int64
	stable int64 // where the first open transaction begins, or high
	high   int64
}

// Special timestamps of ListOffsets requests.
const (
	atStart = -2
	atEnd   = -1
)

// Isolation levels of ListOffsets requests.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// A broker asks the cluster about topics and partitions, which the client does not report.
type broker struct {
	client *kgo.Client
	topics []string
}

func (s *shared) broker() broker { return broker{s.client, s.cfg.Topics} }

// ends asks the brokers for the bounds of partitions. It leaves out
// partitions that no broker answers for, such as one without a leader.
func (b broker) ends(ctx context.Context, owned map[partition]tenure) (map[partition]ends, error) {
	found := make(map[partition]ends, len(owned))
	if len(owned) == 0 {
		return found, nil
	}
	start, err := b.offsets(ctx, owned, atStart, readUncommitted)
	if err != nil {
		return nil, err
	}
	// Ask for the stable end before the high one. If the transaction ends in between, it
	// still looks open, which the next check corrects. In the other order, everything
	// could look read although it is not.
	stable, err := b.offsets(ctx, owned, atEnd, readCommitted)
	if err != nil {
		return nil, err
	}
	high, err := b.offsets(ctx, owned, atEnd, readUncommitted)
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

func (b broker) offsets(ctx context.Context, of map[partition]tenure, when int64, isolation int8) (map[partition]int64, error) {
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
	for _, shard := range b.client.RequestSharded(ctx, request) { // one for each broker
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

// topicIDs asks for the IDs of the worker's topics. It leaves out topics for
// which the broker returns an error.
func (b broker) topicIDs(ctx context.Context) (map[string][16]byte, error) {
	response, err := b.metadata(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[string][16]byte, len(response.Topics))
	for _, t := range response.Topics {
		if t.Topic != nil && kerr.ErrorForCode(t.ErrorCode) == nil {
			ids[*t.Topic] = kgorecord.TopicID(*t.Topic, t.TopicID)
		}
	}
	return ids, nil
}

// metadata asks for the metadata of the worker's topics.
func (b broker) metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, topic := range b.topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(topic)
		request.Topics = append(request.Topics, t)
	}
	response, err := request.RequestWith(ctx, b.client)
	if err != nil {
		return nil, fmt.Errorf("ask for the topics: %w", err)
	}
	return response, nil
}

// notRetryable are the broker's errors that retrying cannot fix.
var notRetryable = []error{
	kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism,
	kerr.InvalidGroupID, kerr.InvalidTopicException, kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout,
	kerr.FencedInstanceID, // another worker runs with this instance ID
	kerr.OffsetOutOfRange, // returned only if Config.Client turns resetting offsets off
	kerr.UnsupportedVersion,
}

// fatal returns the error with which the run ends, or nil if a retry may succeed.
func (s *shared) fatal(err error, topic string) error {
	for _, end := range notRetryable {
		switch {
		case !errors.Is(err, end):
		case topic == "":
			return fmt.Errorf("consume as group %q: %w", s.cfg.Group, err)
		default:
			return fmt.Errorf("consume topic %q as group %q: %w", topic, s.cfg.Group, err)
		}
	}
	return nil
}
