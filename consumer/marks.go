package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/versioning"
)

// errStartOver ends a run that has to go back to the marks: the database server is
// another one than the one that has settled the records of this run, and may lack some.
// The next run is a new member of the group, which asks for the marks.
var errStartOver = errors.New("the database server has changed")

// lookForServer is the time between two looks at which server the database is on, for
// a worker that has nothing to settle.
const lookForServer = 10 * time.Second

// A base is the database server on which the run has settled its records. It is safe
// for concurrent use.
type base struct {
	mu      sync.Mutex
	server  versioning.Server // empty: none was met yet
	changed bool
}

// restsOn notes on which server something was read or settled. If it is not the one
// that all the rest is on, the run has to start over, and restsOn returns false.
func (r *run) restsOn(server versioning.Server) bool {
	r.base.mu.Lock()
	defer r.base.mu.Unlock()
	switch {
	case r.base.changed:
	case r.base.server == "":
		r.base.server = server
	case r.base.server != server:
		r.base.changed = true
		r.log.serverChanged()
		r.end(errStartOver)
	}
	return !r.base.changed
}

// on returns the server that the run rests on: none if it has none, or has changed.
func (b *base) on() (server versioning.Server, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server, b.server != "" && !b.changed
}

// mark notes in the database how far partitions are settled, before it is committed to
// Kafka. It reports whether it may be committed.
func (r *run) mark(ctx context.Context, due progress) (ok bool) {
	server, ok := r.base.on()
	if !ok {
		return false
	}
	marks := make([]versioning.Mark, 0, len(due))
	for at, m := range due {
		marks = append(marks, versioning.Mark{Topic: at.topic, TopicID: m.topicID, Partition: at.id, Offset: m.next.Offset})
	}
	err := r.cfg.Store.SetMarks(ctx, r.cfg.Group, server, marks)
	switch {
	case err == nil:
		r.vitals.marked()
		return true
	case errors.Is(err, versioning.ErrServerChanged):
		r.restsOn("") // which no server is
	case len(marks) > 0:
		r.vitals.failedToMark(err)
		r.log.mark(err)
		r.endFatal(err)
	}
	return false
}

// endFatal ends the run for an error of the database that no retry can mend.
func (r *run) endFatal(err error) {
	if versioning.CauseOf(err) == versioning.Fatal {
		r.end(r.cantGoOn(err))
	}
}

// offsets are what a group has committed.
type offsets struct {
	client    *kgo.Client // which may call before newRun has it
	committed map[partition]int64
}

// onOffsetsFetched is called by the client between the assignment of partitions and
// beginAt, with what the group has committed.
func (r *run) onOffsetsFetched(_ context.Context, client *kgo.Client, response *kmsg.OffsetFetchResponse) error {
	r.fetched = offsets{client: client, committed: make(map[partition]int64)}
	for _, group := range response.Groups {
		for _, t := range group.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.Offset >= 0 {
					r.fetched.committed[partition{t.Topic, p.Partition}] = p.Offset
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
// to begin. Where that is beyond the mark, the database has lost what is between, and the
// partition begins at the mark. What is read again is a duplicate where it is settled.
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
			committed, isCommitted := r.fetched.committed[p]
			mark, isMarked := marks[p]
			begin, known := committed, isCommitted
			switch {
			case !isCommitted && offset.EpochOffset().Offset == startOfLog:
				// All is read again.
			case isMarked && !isCommitted, isMarked && committed > mark:
				r.log.back(p, committed, mark, isCommitted)
				partitions[id] = kgo.NewOffset().At(mark)
				begin, known = mark, true
			case !isMarked && committed > 0:
				r.log.unmarked(p, committed)
			}
			if known {
				r.reading.begin(p, begin)
				r.vitals.begins(p, begin)
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
	for topic, id := range names {
		if _, ok := of[topic]; ok {
			ids = append(ids, id)
		}
	}
	marks, server, err := r.cfg.Store.Marks(ctx, r.cfg.Group, ids)
	if err != nil {
		return nil, err
	}
	if !r.restsOn(server) {
		return nil, errStartOver
	}
	found := make(map[partition]int64, len(marks))
	for _, m := range marks {
		for topic, id := range names {
			if id == m.TopicID {
				found[partition{topic, m.Partition}] = m.Offset
			}
		}
	}
	return found, nil
}
