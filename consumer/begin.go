package consumer

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beginnings decide where the run begins to read partitions. The client calls their methods.
type beginnings struct {
	*shared

	marks *marks
}

// A committed is the offset that a group has committed for a partition.
type committed struct {
	known  bool // false: there is none
	offset int64
	marked bool // a worker committed it, after it had written the mark
}

// markMetadata returns the metadata with which workers commit an offset. Tools that move a
// group do not write it, or they leave it with another offset.
func markMetadata(offset int64) string { return "pawl marked " + strconv.FormatInt(offset, 10) }

// onOffsetsFetched is called by the client between the assignment of partitions and
// beginAt, with what the group has committed.
func (b *beginnings) onOffsetsFetched(_ context.Context, _ *kgo.Client, response *kmsg.OffsetFetchResponse) error {
	found := make(map[partition]committed)
	for _, group := range response.Groups {
		for _, t := range group.Topics {
			for _, p := range t.Partitions {
				var c committed
				if p.ErrorCode == 0 && p.Offset >= 0 {
					marked := p.Metadata != nil && *p.Metadata == markMetadata(p.Offset)
					c = committed{true, p.Offset, marked}
				}
				found[partition{t.Topic, p.Partition}] = c
			}
		}
	}
	b.partitions.setCommitted(found)
	return nil
}

// startOfLog is the client's offset for a partition that is read from its start.
const startOfLog = -2

// beginAt is called by the client before it fetches from partitions, with the offsets where
// it would begin, and returns the offsets where it should. If a worker has committed more
// than the mark says, the database has lost commits: the partition begins at the mark, or at
// its start if the mark is lost too. Records that are read again and are settled are
// duplicates. beginAt keeps an offset that something else has committed, because somebody has
// moved the group there.
//
// If the database or the broker is in trouble, it retries for as long as the worker owns the
// partitions.
func (b *beginnings) beginAt(ctx context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	marks, err := b.marks.read(ctx, at)
	if err != nil {
		return nil, err
	}
	begins := make(map[partition]int64)
	for topic, partitions := range at {
		for id, offset := range partitions {
			p := partition{topic, id}
			group := b.partitions.committed(p)
			mark, isMarked := marks[p]
			begin, known := group.offset, group.known
			switch {
			case group.known && !group.marked:
				if !isMarked || mark != begin {
					b.log.moved(p, begin)
				}
			case group.known && !isMarked:
				b.log.back(p, begin, startOfLog)
				partitions[id] = kgo.NewOffset().AtStart()
				known = false
			case group.known && begin > mark, !group.known && isMarked && offset.EpochOffset().Offset != startOfLog:
				b.log.back(p, begin, mark)
				partitions[id] = kgo.NewOffset().At(mark)
				begin, known = mark, true
			}
			if known {
				begins[p] = begin
			}
		}
	}
	b.partitions.begin(begins)
	return at, nil
}
