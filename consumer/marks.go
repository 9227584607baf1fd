package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// errNoTopicID reports that the broker currently returns no ID for a topic. Marks are stored
// by topic ID, so the worker can't look for the topic's marks.
var errNoTopicID = errors.New("the broker returned no topic ID")

// serverCheckEvery is the time between two checks of which server the database is on, for a
// worker that has nothing to settle.
const serverCheckEvery = 10 * time.Second

// marks are how far the database has settled the partitions: read when a partition begins,
// written before its offset is committed. They are safe for concurrent use.
type marks struct {
	*shared

	base *base
}

// write stores in the database how far partitions are settled, before their offsets are
// committed to Kafka. It reports whether they may be committed. Without partitions it only
// checks the server.
func (m *marks) write(ctx context.Context, due progress) (ok bool) {
	server := m.base.server()
	if server == "" {
		return false
	}
	marks := make([]versioning.Mark, 0, len(due))
	for at, done := range due {
		last := m.partitions.mark(at, done.topicID)
		marks = append(marks, versioning.Mark{Topic: at.topic, TopicID: done.topicID, Partition: at.id, Offset: done.next.Offset, Last: last})
	}
	err := m.cfg.Store.SetMarks(ctx, m.cfg.Group, server, marks)
	switch {
	case err == nil:
		for _, mark := range marks {
			m.partitions.setMark(partition{mark.Topic, mark.Partition}, mark.TopicID, mark.Offset)
		}
		m.vitals.wroteMarks()
		return true
	case errors.Is(err, versioning.ErrServerChanged):
		m.base.startOver()
	case len(marks) > 0:
		m.vitals.failedToWriteMarks(err)
		m.log.mark(err)
		m.endFatal(err)
	}
	return false
}

// read returns the marks of partitions. It retries for as long as the database or the
// broker is in trouble.
func (m *marks) read(ctx context.Context, of map[string]map[int32]kgo.Offset) (map[partition]int64, error) {
	defer m.vitals.readMarks()
	retry := m.cfg.backOff()
	for {
		marks, err := m.ask(ctx, of)
		if err == nil || ctx.Err() != nil {
			return marks, err
		}
		if errors.Is(err, errStartOver) { // the run ends and gives the partitions up
			<-ctx.Done()
			return nil, err
		}
		m.vitals.failedToReadMarks(err)
		m.log.mark(err)
		m.endFatal(err)
		if !pace.Sleep(ctx, retry.NextBackOff()) {
			return nil, ctx.Err()
		}
	}
}

func (m *marks) ask(ctx context.Context, of map[string]map[int32]kgo.Offset) (map[partition]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	names, err := m.broker().topicIDs(ctx)
	if err != nil {
		return nil, err
	}
	var ids [][16]byte
	for topic := range of {
		id, ok := names[topic]
		if !ok {
			return nil, fmt.Errorf("%w: %s", errNoTopicID, topic)
		}
		ids = append(ids, id, kgorecord.TopicID(topic, [16]byte{})) // the broker may have given none before
	}
	marks, server, err := m.cfg.Store.Marks(ctx, m.cfg.Group, ids)
	if err != nil {
		return nil, err
	}
	if server == "" {
		return nil, fmt.Errorf("%w: Marks returned an empty server", errStore)
	}
	if !m.base.check(server) {
		return nil, errStartOver
	}
	for topic, partitions := range of {
		for id := range partitions {
			m.partitions.setMark(partition{topic, id}, names[topic], 0)
		}
	}
	return m.store(names, marks), nil
}

// store stores the marks of topics with the given IDs, and returns them by partition. A
// mark with the topic's own ID has precedence over one with the ID that topicID derives for
// brokers without topic IDs.
func (m *marks) store(topicIDs map[string][16]byte, marks []versioning.Mark) map[partition]int64 {
	found := make(map[partition]int64, len(marks))
	for _, mark := range marks {
		for topic, id := range topicIDs {
			isOwn := id == mark.TopicID
			if !isOwn && mark.TopicID != kgorecord.TopicID(topic, [16]byte{}) {
				continue
			}
			at := partition{topic, mark.Partition}
			m.partitions.setMark(at, mark.TopicID, mark.Offset)
			if _, ok := found[at]; isOwn || !ok {
				found[at] = mark.Offset
			}
		}
	}
	return found
}
