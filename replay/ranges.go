package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/pawl-go/pawl/internal/kgorecord"
)

// A Range is what is read of a partition.
type Range struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"` // a UUID
	Partition int32  `json:"partition"`
	First     int64  `json:"first"` // the first offset
	End       int64  `json:"end"`   // the offset after the last one
	Next      int64  `json:"next"`  // the offset after the last one that was read
}

func (r *Range) done() bool { return r.Next >= r.End }

func uuid(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// ErrTopic says that a topic can't be read.
var ErrTopic = errors.New("the topic can't be read")

// findRanges returns what is to be read, as it is now, and what can't be proven with it.
func (c *Config) findRanges(ctx context.Context, adm *kadm.Client) (ranges []Range, caveats []Caveat, err error) {
	ids, err := c.topicIDs(ctx, adm)
	if err != nil {
		return nil, nil, err
	}
	starts, ends, err := c.bounds(ctx, adm)
	if err != nil {
		return nil, nil, err
	}
	for _, topic := range c.Topics {
		for partition, earliest := range starts[topic] {
			end, _ := ends.Lookup(topic, partition)
			r := Range{Topic: topic, TopicID: ids[topic], Partition: partition, First: earliest.Offset, End: end.Offset}
			ranges = append(ranges, r)
		}
	}
	slices.SortFunc(ranges, func(a, b Range) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	caveats = append(caveats, missing(ranges)...)
	if ranges, err = c.begin(ctx, adm, ranges); err != nil {
		return nil, nil, err
	}
	if ranges, err = c.endAtGroup(ctx, adm, ranges); err != nil {
		return nil, nil, err
	}
	for i := range ranges {
		ranges[i].Next = min(ranges[i].First, ranges[i].End)
		ranges[i].First = ranges[i].Next
	}
	return ranges, append(caveats, c.compacted(ctx, adm)...), nil
}

// topicIDs returns the IDs of the topics, by name.
func (c *Config) topicIDs(ctx context.Context, adm *kadm.Client) (map[string]string, error) {
	details, err := adm.ListTopics(ctx, c.Topics...)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: list topics %q: %w", ErrTopic, c.Topics, err)
	}
	ids := make(map[string]string, len(c.Topics))
	for _, topic := range c.Topics {
		ids[topic] = uuid(kgorecord.TopicID(topic, details[topic].ID))
	}
	return ids, nil
}

// bounds returns the first and last offsets of the topics' partitions.
func (c *Config) bounds(ctx context.Context, adm *kadm.Client) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = adm.ListStartOffsets(ctx, c.Topics...); err == nil {
		err = starts.Error()
	}
	if err == nil {
		if ends, err = adm.ListCommittedOffsets(ctx, c.Topics...); err == nil {
			err = ends.Error()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: list the offsets of %q: %w", ErrTopic, c.Topics, err)
	}
	return starts, ends, nil
}

// begin sets where the partitions begin.
func (c *Config) begin(ctx context.Context, adm *kadm.Client, ranges []Range) ([]Range, error) {
	switch {
	case c.From.Offsets != nil:
		ranges = slices.DeleteFunc(ranges, func(r Range) bool {
			_, ok := c.From.Offsets[r.Topic][r.Partition]
			return !ok
		})
		for i := range ranges {
			r := &ranges[i]
			r.First = max(r.First, c.From.Offsets[r.Topic][r.Partition])
		}
		for topic, partitions := range c.From.Offsets {
			for partition := range partitions {
				if !slices.ContainsFunc(ranges, func(r Range) bool { return r.Topic == topic && r.Partition == partition }) {
					return nil, fmt.Errorf("%w: From.Offsets has partition %d of topic %q, which does not exist", ErrConfig, partition, topic)
				}
			}
		}
	case !c.From.Time.IsZero():
		after, err := adm.ListOffsetsAfterMilli(ctx, c.From.Time.UnixMilli(), c.Topics...)
		if err == nil {
			err = after.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: list the offsets of %q at %v: %w", ErrTopic, c.Topics, c.From.Time, err)
		}
		for i := range ranges {
			r := &ranges[i]
			if at, ok := after.Lookup(r.Topic, r.Partition); ok && at.Offset >= 0 {
				r.First = max(r.First, at.Offset)
			}
		}
	}
	return ranges, nil
}

// endAtGroup ends the partitions where the group has committed.
func (c *Config) endAtGroup(ctx context.Context, adm *kadm.Client, ranges []Range) ([]Range, error) {
	if c.Group == "" {
		return ranges, nil
	}
	committed, err := c.committed(ctx, adm)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(ranges, func(r Range) bool { at, ok := committed.Lookup(r.Topic, r.Partition); return ok && at.At >= 0 }) {
		return nil, fmt.Errorf("%w: group %q has committed nothing of topics %q; is that the group of the workers?", ErrConfig, c.Group, c.Topics)
	}
	for i := range ranges {
		r := &ranges[i]
		at, ok := committed.Lookup(r.Topic, r.Partition)
		if !ok || at.At < 0 {
			r.End = r.First // the workers have read nothing
			continue
		}
		r.End = min(r.End, at.At)
	}
	return ranges, nil
}
