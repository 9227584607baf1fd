package consumer

import (
	"cmp"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/versioning"
)

// progress is how far partitions are settled: the offsets of the next record to
// consume.
type progress map[partition]milestone

type milestone struct {
	next   kgo.EpochOffset
	tenure tenure
}

// commitTimeout bounds one attempt to commit: a rebalance waits for it.
const commitTimeout = 5 * time.Second

// commit commits the offsets that the batch has settled: for each partition up
// to the first record without a verdict, never past it.
func (r *run) commit(b *batch) {
	defer stopwatch(&b.took.commit)()
	r.note(b)
	r.commitPending()
}

// note adds what the batch has settled to what is to be committed.
func (r *run) note(b *batch) {
	var stuck map[partition]bool
	for _, s := range b.spans {
		if stuck[s.partition] {
			continue
		}
		settled := s.first
		for settled < s.end && b.outcomes[settled].Verdict != versioning.Undecided {
			settled++
		}
		if settled < s.end {
			if stuck == nil {
				stuck = make(map[partition]bool)
			}
			stuck[s.partition] = true
		}
		if settled > s.first {
			last := b.kafka[settled-1]
			r.vitals.settled(s.partition, last.Offset+1)
			r.pending[s.partition] = milestone{kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}, s.tenure}
		}
	}
}

// commitPending commits all that is done and not known to be committed, but for
// partitions that were taken away: their new owner may be further on. No
// partition can be taken away while it runs. What fails stays pending: the next
// commit covers it, and until then a redelivery changes nothing.
func (r *run) commitPending() {
	if len(r.pending) == 0 {
		return
	}
	r.owned.whileOwned(func() {
		for p, m := range r.pending {
			if m.tenure == 0 || m.tenure != r.owned.of(p) {
				delete(r.pending, p)
			}
		}
		if len(r.pending) > 0 {
			r.take(r.attemptCommit())
		}
	})
}

// An answer is what came of an attempt to commit.
type answer struct {
	request  *kmsg.OffsetCommitRequest
	response *kmsg.OffsetCommitResponse
	err      error
}

// attemptCommit commits what is pending. The client can't be kept from waiting
// for a broker that does not answer, so the attempt is left behind then: the
// client makes the next one after it.
func (r *run) attemptCommit() answer {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	answers := make(chan answer, 1)
	r.client.CommitOffsets(ctx, r.pending.byTopic(),
		func(_ *kgo.Client, request *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			answers <- answer{request, response, err}
		})
	select {
	case a := <-answers:
		return a
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	}
}

// take takes what the broker has committed out of what is pending.
func (r *run) take(a answer) {
	if a.err != nil {
		r.log.commit("", -1, a.err)
		return
	}
	names := make(map[[16]byte]string, len(a.request.Topics)) // newer brokers answer by topic ID
	for _, t := range a.request.Topics {
		names[t.TopicID] = t.Topic
	}
	for _, t := range a.response.Topics {
		topic := cmp.Or(t.Topic, names[t.TopicID])
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				r.log.commit(topic, p.Partition, err)
				continue
			}
			delete(r.pending, partition{topic, p.Partition})
		}
	}
}

func (p progress) byTopic() map[string]map[int32]kgo.EpochOffset {
	topics := make(map[string]map[int32]kgo.EpochOffset)
	for at, m := range p {
		if topics[at.topic] == nil {
			topics[at.topic] = make(map[int32]kgo.EpochOffset)
		}
		topics[at.topic][at.id] = m.next
	}
	return topics
}
