package relay

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgoask"
	"github.com/pawl-go/pawl/versioning"
)

// limits know the largest batch of each topic. They are safe for concurrent use.
type limits struct {
	own func(topic string) int32 // of the application, or of the client

	mu     sync.Mutex
	topics map[string]int32 // 0 is unknown
}

// minBatch is the smallest limit that the client takes.
const minBatch = 512

func newLimits(c Config) *limits {
	l := &limits{topics: make(map[string]int32)}
	kgoask.Client(c.clientOptions(), func(client *kgo.Client) {
		l.own, _ = client.OptValue(kgo.ProducerBatchMaxBytesFn).(func(string) int32)
	})
	return l
}

// of returns the limit of a topic.
func (l *limits) of(topic string) int32 {
	own := int32(1_000_000)
	if l.own != nil {
		own = l.own(topic)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.topics[topic]; n > 0 {
		return max(min(own, n), minBatch)
	}
	return own
}

// learn asks for the limits of the topics of messages, before the client needs them.
func (l *limits) learn(ctx context.Context, client *kgo.Client, messages []versioning.Emitted) {
	for i := range messages {
		topic := messages[i].Topic
		l.mu.Lock()
		_, known := l.topics[topic]
		l.mu.Unlock()
		if known {
			continue
		}
		n := batchLimit(ctx, client, topic)
		l.mu.Lock()
		l.topics[topic] = n
		l.mu.Unlock()
	}
}

// overhead is more than the bytes that a batch adds to those of a message.
const overhead = 200

// exceeded reports whether a message is larger than the batches of its topic.
func (l *limits) exceeded(m *versioning.Emitted) bool {
	size := len(m.Key) + len(m.Value) + len(m.Source) + len(m.Entity.Machine) + min(len(m.Entity.Key), 512) + len(m.Event) + overhead
	for _, h := range m.Headers {
		size += len(h.Key) + len(h.Value) + 10
	}
	return size > minBatch && size > int(l.of(m.Topic))
}
