package consumer

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/pace"
)

// progress is how far partitions are settled.
type progress map[partition]milestone

// commitTimeout limits one attempt to write marks and commit offsets, because a rebalance
// waits for it.
const commitTimeout = 5 * time.Second

// commitPause is the shortest time between two commits, except those before partitions are
// given up. There may be a thousand small batches a second, and the broker writes each
// commit to a log: a commit after every batch would cost more than the records themselves.
const commitPause = 100 * time.Millisecond

// A committer commits offsets in a separate goroutine, behind the batches.
type committer struct {
	*shared

	marks  *marks
	gates  gates
	due    chan struct{} // holds one if there are offsets to commit
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (c *committer) start() {
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.done.Go(func() {
		for {
			select {
			case <-c.due:
			case <-time.After(serverCheckEvery):
				c.checkServer(ctx)
				continue
			case <-ctx.Done():
				return
			}
			wait := commitPause
			if !c.commitPending() { // retry, even if no more records arrive
				wait = c.cfg.RetryMax
				signal(c.due)
			}
			if !pace.Sleep(ctx, wait) {
				return
			}
		}
	})
}

func (c *committer) stop() {
	c.cancel()
	c.done.Wait()
}

// add schedules a commit of the offsets that the batch has settled: for each partition up
// to the first record without a verdict, never past it. The committer sends it in the
// background, and covers several batches with one commit if they are faster than the broker.
func (c *committer) add(b *batch) {
	c.partitions.advance(b)
	signal(c.due)
}

// commitPending writes marks and commits offsets for everything that is settled and not known
// to be committed. It skips partitions that were taken away, because their new owner may have
// committed more. It commits nothing if the worker has joined the group as another member
// since the assignment, because then any partition may have a new owner. No partition can be
// taken away while it runs. Offsets that could not be committed stay pending, and the next
// commit covers them; if their records are delivered again until then, they are duplicates.
// It returns false if it found offsets that it could not commit.
func (c *committer) commitPending() (ok bool) {
	var done Commit
	began := time.Now()
	c.gates.whileOwned(func() {
		due := c.partitions.pending()
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		began, done.Partitions = time.Now(), len(due)
		ok = len(due) == 0 || c.marks.write(ctx, due) && c.take(due, c.attempt(ctx, due))
	})
	if done.Partitions > 0 {
		done.Took, done.OK = time.Since(began), ok
		c.report(done)
	}
	return ok
}

// report calls the hooks. If one panics, the run ends.
func (c *committer) report(done Commit) {
	if err := hooks(c.cfg.Hooks).commit(context.Background(), done); err != nil {
		c.end(c.cantContinue(err))
	}
}

// checkServer checks whether the database is still on the server that has settled the
// records. If not, the run starts over.
func (c *committer) checkServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	c.marks.write(ctx, nil)
}

// An answer is the result of an attempt to commit.
type answer struct {
	request  *kmsg.OffsetCommitRequest
	response *kmsg.OffsetCommitResponse
	err      error
}

// attempt commits what is due. If the broker does not answer, it returns when ctx ends
// and leaves the attempt to the client, which can't be stopped from waiting: the client sends
// the next commit after it.
func (c *committer) attempt(ctx context.Context, due progress) answer {
	ctx = kgo.PreCommitFnContext(ctx, c.beforeCommit)
	answers := make(chan answer, 1)
	c.client.CommitOffsets(ctx, due.byTopic(),
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

// beforeCommit adds the metadata to a commit just before the client sends it. It returns an
// error if the commit must not be sent.
func (c *committer) beforeCommit(commit *kmsg.OffsetCommitRequest) error {
	for i := range commit.Topics {
		for j := range commit.Topics[i].Partitions {
			p := &commit.Topics[i].Partitions[j]
			p.Metadata = new(markMetadata(p.Offset))
		}
	}
	return c.partitions.checkMember(commit)
}

// take removes from due what the broker has committed. It reports whether nothing is left.
func (c *committer) take(due progress, a answer) (all bool) {
	if a.err != nil {
		c.log.commit(a.err)
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
				c.log.commitOf(partition{topic, p.Partition}, err)
				continue
			}
			at := partition{topic, p.Partition}
			c.partitions.accepted(at, due[at])
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
