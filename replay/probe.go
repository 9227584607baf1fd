package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/kgorecord"
)

// This file finds out whether a range has no more records, although it has more offsets: the
// client returns nothing then, as it does while the broker is in trouble. Compaction removes
// records, and what an aborted transaction has written is not returned.

// quietFor is how long nothing may arrive before the broker is asked.
const quietFor = 2 * time.Second

// silentFor is how long the broker may give no answer.
const silentFor = time.Minute

// probe ends the ranges that have no more records. Their offsets count as read in b.
func (r *reader) probe(ctx context.Context, b *batch) error {
	for at, left := range r.left {
		over, err := r.isOver(ctx, left)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errCreatedAgain):
			return errCreatedAgain
		case err != nil && (!kerr.IsRetriable(err) && isFromBroker(err) || time.Since(r.heard) > silentFor):
			return fmt.Errorf("%w: partition %d of topic %q at offset %d: %w", ErrTopic, at.id, at.topic, left.Next, err)
		case err != nil:
			r.cfg.Logger.Warn("the broker is in trouble; trying again", "topic", at.topic, "partition", at.id, "error", err)
		case over:
			left.Next, b.next[at] = left.End, left.End
			delete(r.left, at)
		}
	}
	return nil
}

func isFromBroker(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}

// isOver reports whether a range has no more records.
func (r *reader) isOver(ctx context.Context, left *Range) (bool, error) {
	for at := left.Next; at < left.End; {
		found, err := r.fetch(ctx, left, at)
		if err != nil {
			return false, err
		}
		options := kgo.ProcessFetchPartitionOpts{
			KeepControlRecords: true, Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: left.Topic, Partition: left.Partition,
		}
		records, next := kgo.ProcessFetchPartition(options, found, kgo.DefaultDecompressor(), nil)
		switch {
		case records.Err != nil:
			return false, records.Err
		case len(records.Records) > 0:
			return records.Records[0].Offset >= left.End, nil
		case next <= at && max(found.LastStableOffset, found.HighWatermark) < left.End:
			return false, fmt.Errorf("the partition ends at offset %d, and had records up to %d", found.HighWatermark, left.End)
		case next <= at: // nothing is there
			return true, nil
		}
		at = next
	}
	return true, nil
}

const (
	probeTimeout  = 5 * time.Second
	probeMaxBytes = 1 << 20
)

// fetch asks the leader of a partition for what is there at an offset.
func (r *reader) fetch(ctx context.Context, left *Range, at int64) (*kmsg.FetchResponseTopicPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	metadata, err := kadm.NewClient(r.client).Metadata(ctx, left.Topic)
	if err != nil {
		return nil, fmt.Errorf("look for the leader: %w", err)
	}
	topic := metadata.Topics[left.Topic]
	partition, ok := topic.Partitions[left.Partition]
	if err := errors.Join(topic.Err, partition.Err); err != nil || !ok {
		return nil, errors.Join(err, kerr.UnknownTopicOrPartition)
	}
	if uuid(kgorecord.TopicID(left.Topic, topic.ID)) != left.TopicID {
		return nil, errCreatedAgain
	}
	request := kmsg.NewPtrFetchRequest()
	request.MaxBytes, request.IsolationLevel, request.SessionEpoch = probeMaxBytes, 1, -1
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = left.Partition, at, probeMaxBytes
	t.Topic, t.TopicID, t.Partitions = left.Topic, topic.ID, append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	answer, err := r.client.Broker(int(partition.Leader)).RetriableRequest(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	response, ok := answer.(*kmsg.FetchResponse)
	if !ok || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return nil, errors.Join(kerr.ErrorForCode(errorCode(response)), errors.New("the leader has answered something else"))
	}
	found := &response.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(found.ErrorCode); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what it is about
	}
	return found, nil
}

func errorCode(response *kmsg.FetchResponse) int16 {
	if response == nil {
		return 0
	}
	return response.ErrorCode
}
