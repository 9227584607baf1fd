package consumer

import (
	"cmp"
	"context"
	"maps"
	"sync"
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

// commits is what is settled and not known to be committed. It is safe for
// concurrent use.
type commits struct {
	wanted chan struct{} // holds one if there is something to commit

	mu      sync.Mutex
	pending progress
}

func newCommits() commits {
	return commits{wanted: make(chan struct{}, 1), pending: make(progress)}
}

// commit has the offsets committed that the batch has settled: for each partition
// up to the first record without a verdict, never past it. The broker is told
// behind the batches, and of several at once if they are faster than it is.
func (r *run) commit(b *batch) {
	r.note(b)
	r.commits.want()
}

func (c *commits) want() { signal(c.wanted) }

// note adds what the batch has settled to what is to be committed.
func (r *run) note(b *batch) {
	r.commits.mu.Lock()
	defer r.commits.mu.Unlock()
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
			r.commits.pending[s.partition] = milestone{
				kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}, s.topicID, s.tenure,
			}
		}
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
			case <-r.commits.wanted:
			case <-time.After(lookForServer):
				r.lookAtServer(ctx)
				continue
			case <-ctx.Done():
				return
			}
			wait := commitPause
			if !r.commitPending() { // try again, records or not
				wait = r.cfg.RetryMax
				r.commits.want()
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
	r.owned.whileOwned(func() {
		due := r.dueCommits()
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

// dueCommits returns what is to be committed.
func (r *run) dueCommits() progress {
	r.commits.mu.Lock()
	defer r.commits.mu.Unlock()
	for p, m := range r.commits.pending {
		if m.tenure == 0 || m.tenure != r.owned.of(p) {
			delete(r.commits.pending, p)
		}
	}
	return maps.Clone(r.commits.pending)
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

// take takes what the broker has committed out of what is pending, unless that has
// gone on meanwhile. It reports whether all that was due is committed.
func (r *run) take(due progress, a answer) (all bool) {
	if a.err != nil {
		r.log.commit("", -1, a.err)
		return false
	}
	names := make(map[[16]byte]string, len(a.request.Topics)) // newer brokers answer by topic ID
	for _, t := range a.request.Topics {
		names[t.TopicID] = t.Topic
	}
	r.commits.mu.Lock()
	defer r.commits.mu.Unlock()
	for _, t := range a.response.Topics {
		topic := cmp.Or(t.Topic, names[t.TopicID])
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				r.log.commit(topic, p.Partition, err)
				continue
			}
			at := partition{topic, p.Partition}
			if r.commits.pending[at] == due[at] {
				delete(r.commits.pending, at)
			}
			delete(due, at)
		}
	}
	return len(due) == 0
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
