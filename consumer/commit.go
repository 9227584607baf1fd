package consumer

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// progress is how far partitions are settled: the offsets of the next record to
// consume.
type progress map[partition]milestone

type milestone struct {
	next    kgo.EpochOffset
	topicID [16]byte
	tenure  tenure
}

// commitTimeout bounds one attempt to mark and to commit: a rebalance waits for it.
const commitTimeout = 5 * time.Second

// commitPause is the least time from one commit to the next, but for those before
// partitions are given up. Small batches come a thousand a second, and each commit is
// a write of the broker's: made after every batch, they would take more of the machine
// than the records.
const commitPause = 100 * time.Millisecond

// commit has the offsets committed that the batch has settled: for each partition
// up to the first record without a verdict, never past it. The broker is told
// behind the batches, and of several at once if they are faster than it is.
func (r *run) commit(b *batch) {
	r.partitions.settle(b)
	signal(r.due)
}

// settle notes what a batch has settled, and what of it is to be committed.
func (p *partitions) settle(b *batch) {
	p.vitals.change(func() {
		stuck := make(map[partition]bool)
		for _, s := range b.spans {
			if stuck[s.partition] {
				continue
			}
			settled := b.settled(s)
			stuck[s.partition] = settled < s.end
			if l := p.lives[s.partition]; l != nil && settled > s.first {
				l.settled(s, b.kafka[settled-1])
			}
		}
	})
}

// settled notes that a span is settled up to its record last.
func (l *life) settled(s span, last *kgo.Record) {
	next := last.Offset + 1
	l.reach.settled(next)
	if s.tenure != 0 && s.tenure == l.tenure {
		l.pending = milestone{kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: next}, s.topicID, s.tenure}
	}
}

// A committer commits behind the batches. It has a goroutine of its own.
type committer struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (r *run) startCommits() *committer {
	ctx, cancel := context.WithCancel(context.Background())
	c := &committer{cancel: cancel}
	c.done.Go(func() {
		for {
			select {
			case <-r.due:
			case <-time.After(lookForServer):
				r.lookAtServer(ctx)
				continue
			case <-ctx.Done():
				return
			}
			wait := commitPause
			if !r.commitPending() { // try again, records or not
				wait = r.cfg.RetryMax
				signal(r.due)
			}
			if !sleep(ctx, wait) {
				return
			}
		}
	})
	return c
}

func (c *committer) stop() {
	c.cancel()
	c.done.Wait()
}

// commitPending marks and commits all that is done and not known to be committed, but for
// partitions that were taken away: their new owner may be further on. While the worker
// is another member than the one to which its partitions were assigned, any may be. No
// partition can be taken away while it runs. What fails stays pending: the next
// commit covers it, and until then a redelivery changes nothing. It reports
// whether nothing is pending of what it found.
func (r *run) commitPending() (ok bool) {
	r.gates.whileOwned(func() {
		due := r.partitions.pending()
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		ok = len(due) == 0 || r.mark(ctx, due) && r.take(due, r.attemptCommit(ctx, due))
	})
	return ok
}

// lookAtServer finds out whether the database server is still the one that has settled
// the records.
func (r *run) lookAtServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	r.mark(ctx, nil)
}

// pending returns what is settled and not known to be committed, of the worker's
// partitions.
func (p *partitions) pending() progress {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	pending := make(progress)
	for at, l := range p.lives {
		if l.pending.tenure != 0 {
			pending[at] = l.pending
		}
	}
	return pending
}

// An answer is what came of an attempt to commit.
type answer struct {
	request  *kmsg.OffsetCommitRequest
	response *kmsg.OffsetCommitResponse
	err      error
}

// attemptCommit commits what is due. The client can't be kept from waiting
// for a broker that does not answer, so the attempt is left behind then: the
// client makes the next one after it.
func (r *run) attemptCommit(ctx context.Context, due progress) answer {
	ctx = kgo.PreCommitFnContext(ctx, r.beforeCommit)
	answers := make(chan answer, 1)
	r.client.CommitOffsets(ctx, due.byTopic(),
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

// take takes what the broker has committed out of what is due. It reports whether that
// was all.
func (r *run) take(due progress, a answer) (all bool) {
	if a.err != nil {
		r.log.commit("", -1, a.err)
		return false
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
			at := partition{topic, p.Partition}
			r.partitions.committed(at, due[at])
			delete(due, at)
		}
	}
	return len(due) == 0
}

// committed notes that the broker has committed what was pending, unless more is
// settled meanwhile.
func (p *partitions) committed(at partition, m milestone) {
	p.look(at, func(l *life) {
		if l.pending == m {
			l.pending = milestone{}
		}
	})
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
