package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/versioning"
)

// errNoTopicID says that the broker does not tell of a topic just now. A mark is of a
// topic with its ID, so none can be looked for.
var errNoTopicID = errors.New("the broker does not tell the topic's ID")

// errStartOver ends a run that has to go back to the marks: the database server is
// another one than the one that has settled the records of this run, and may lack some.
// The next run is a new member of the group, which asks for the marks.
var errStartOver = errors.New("the database server has changed")

// lookForServer is the time between two looks at which server the database is on, for
// a worker that has nothing to settle.
const lookForServer = 10 * time.Second

// A base is the database server on which the run has begun: the first one that its
// partitions' marks were read from. It is safe for concurrent use.
type base struct {
	mu      sync.Mutex
	now     versioning.Server // empty: none yet
	changed bool
}

// restsOn notes that marks were read from a server. If it is another one than the run has
// begun on, the run has to start over, and restsOn returns false.
func (r *run) restsOn(server versioning.Server) bool {
	r.base.mu.Lock()
	changed := r.base.now != "" && r.base.now != server
	r.base.now = cmp.Or(r.base.now, server)
	r.base.mu.Unlock()
	if changed {
		r.startOver()
	}
	return !changed
}

// startOver ends the run because the database is on another server.
func (r *run) startOver() {
	r.base.mu.Lock()
	defer r.base.mu.Unlock()
	if !r.base.changed {
		r.base.changed = true
		r.log.serverChanged()
		r.end(errStartOver)
	}
}

func (b *base) server() versioning.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// mark notes in the database how far partitions are settled, before it is committed to
// Kafka. It reports whether it may be committed.
func (r *run) mark(ctx context.Context, due progress) (ok bool) {
	server := r.base.server()
	if server == "" {
		return false
	}
	marks := make([]versioning.Mark, 0, len(due))
	for at, m := range due {
		last := r.partitions.mark(at, m.topicID)
		marks = append(marks, versioning.Mark{Topic: at.topic, TopicID: m.topicID, Partition: at.id, Offset: m.next.Offset, Last: last})
	}
	err := r.cfg.Store.SetMarks(ctx, r.cfg.Group, server, marks)
	switch {
	case err == nil:
		for _, m := range marks {
			r.partitions.setMark(partition{m.Topic, m.Partition}, m.TopicID, m.Offset)
		}
		r.vitals.marked()
		return true
	case errors.Is(err, versioning.ErrServerChanged):
		r.startOver()
	case len(marks) > 0:
		r.vitals.failedToMark(err)
		r.log.mark(err)
		r.endFatal(err)
	}
	return false
}

// endFatal ends the run for an error of the store that no retry can mend.
func (r *run) endFatal(err error) {
	if versioning.CauseOf(err) == versioning.Fatal || errors.Is(err, errStore) {
		r.end(r.cantGoOn(err))
	}
}

// offsets are what a group has committed.
type offsets struct {
	client    *kgo.Client // which may call before newRun has it
	committed map[partition]committed
}

type committed struct {
	offset int64
	marked bool // by a worker, which had marked it in the database before
}

// wordOfMark is the metadata with which workers commit an offset. Tools that move a group
// do not write it, or write another offset with it.
func wordOfMark(offset int64) string { return "pawl marked " + strconv.FormatInt(offset, 10) }

// beforeCommit is asked about each commit when it is about to be sent.
func (r *run) beforeCommit(commit *kmsg.OffsetCommitRequest) error {
	for i := range commit.Topics {
		for j := range commit.Topics[i].Partitions {
			p := &commit.Topics[i].Partitions[j]
			p.Metadata = new(wordOfMark(p.Offset))
		}
	}
	return r.partitions.checkMember(commit)
}

// onOffsetsFetched is called by the client between the assignment of partitions and
// beginAt, with what the group has committed.
func (r *run) onOffsetsFetched(_ context.Context, client *kgo.Client, response *kmsg.OffsetFetchResponse) error {
	r.fetched = offsets{client: client, committed: make(map[partition]committed)}
	for _, group := range response.Groups {
		for _, t := range group.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.Offset >= 0 {
					marked := p.Metadata != nil && *p.Metadata == wordOfMark(p.Offset)
					r.fetched.committed[partition{t.Topic, p.Partition}] = committed{p.Offset, marked}
				}
			}
		}
	}
	return nil
}

// startOfLog is what the client has for the offset of a partition that is read from its
// start.
const startOfLog = -2

// beginAt is called by the client before it fetches from partitions, with where it means
// to begin. Where a worker has committed more than the mark says, the database has lost
// what is between, and the partition begins at the mark, or at its start if the mark is
// lost too. What is read again is a duplicate where it is settled. What something else
// has committed is where somebody wants the group to be.
//
// It waits for the database for as long as the partitions are the worker's.
func (r *run) beginAt(ctx context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	marks, err := r.readMarks(ctx, at)
	if err != nil {
		return nil, err
	}
	for topic, partitions := range at {
		for id, offset := range partitions {
			p := partition{topic, id}
			group, isCommitted := r.fetched.committed[p]
			mark, isMarked := marks[p]
			begin, known := group.offset, isCommitted
			switch {
			case isCommitted && !group.marked:
				if !isMarked || mark != begin {
					r.log.moved(p, begin)
				}
			case isCommitted && !isMarked:
				r.log.back(p, begin, startOfLog)
				partitions[id] = kgo.NewOffset().AtStart()
				known = false
			case isCommitted && begin > mark, !isCommitted && isMarked && offset.EpochOffset().Offset != startOfLog:
				r.log.back(p, begin, mark)
				partitions[id] = kgo.NewOffset().At(mark)
				begin, known = mark, true
			}
			if known {
				r.partitions.begin(p, begin)
			}
		}
	}
	return at, nil
}

// readMarks returns the marks of partitions, however long the database or the broker is
// in trouble.
func (r *run) readMarks(ctx context.Context, of map[string]map[int32]kgo.Offset) (map[partition]int64, error) {
	defer r.vitals.marked()
	retry := r.backOff()
	for {
		marks, err := r.askMarks(ctx, of)
		if err == nil || ctx.Err() != nil {
			return marks, err
		}
		if errors.Is(err, errStartOver) { // which gives the partitions up
			<-ctx.Done()
			return nil, err
		}
		r.vitals.failedToMark(err)
		r.log.mark(err)
		r.endFatal(err)
		if !sleep(ctx, retry.NextBackOff()) {
			return nil, ctx.Err()
		}
	}
}

func (r *run) askMarks(ctx context.Context, of map[string]map[int32]kgo.Offset) (map[partition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	names, err := r.askTopicIDs(ctx, r.fetched.client)
	if err != nil {
		return nil, err
	}
	var ids [][16]byte
	for topic := range of {
		id, ok := names[topic]
		if !ok {
			return nil, fmt.Errorf("%w: %s", errNoTopicID, topic)
		}
		ids = append(ids, id, topicID(topic, [16]byte{})) // the broker may have given none before
	}
	marks, server, err := r.cfg.Store.Marks(ctx, r.cfg.Group, ids)
	if err != nil {
		return nil, err
	}
	if server == "" {
		return nil, fmt.Errorf("%w: Marks names no server", errStore)
	}
	if !r.restsOn(server) {
		return nil, errStartOver
	}
	for topic, partitions := range of {
		for id := range partitions {
			r.partitions.setMark(partition{topic, id}, names[topic], 0)
		}
	}
	return r.keepMarks(names, marks), nil
}

// keepMarks notes marks, of topics with the given IDs, and returns those of partitions.
// A mark of a topic's own ID counts before one of the ID that is made up for brokers
// which give none.
func (r *run) keepMarks(topicIDs map[string][16]byte, marks []versioning.Mark) map[partition]int64 {
	found := make(map[partition]int64, len(marks))
	for _, m := range marks {
		for topic, id := range topicIDs {
			isOwn := id == m.TopicID
			if !isOwn && m.TopicID != topicID(topic, [16]byte{}) {
				continue
			}
			at := partition{topic, m.Partition}
			r.partitions.setMark(at, m.TopicID, m.Offset)
			if _, ok := found[at]; isOwn || !ok {
				found[at] = m.Offset
			}
		}
	}
	return found
}
