package relay

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgoask"
	"github.com/pawl-go/pawl/versioning"
)

// limits know the largest batch of each topic. They are safe for concurrent use.
type limits struct {
	own func(topic string) int32 // of the application, or of the client
	ask func(ctx context.Context, client *kgo.Client, topics []string) (map[string]int32, error)

	mu     sync.Mutex
	topics map[string]*topicLimit
	slow   bool // the last question was not answered in time
}

// A topicLimit is what is known about one topic. The client uses what is known when it first
// learns of the topic; exceeded uses the newest.
type topicLimit struct {
	bytes  int32     // 0 is unknown
	asking bool      // a question is on its way
	asked  time.Time // when the last one was answered, or given up
}

// learnWait limits how long messages wait for the limits of their topics, and askAgain is when
// the relay asks again: the topic may exist by now, or have another limit.
const (
	learnWait = 500 * time.Millisecond
	askAgain  = time.Minute
)

// minBatch is the smallest limit that the client takes.
const minBatch = 512

func newLimits(c Config) *limits {
	l := &limits{ask: batchLimits, topics: make(map[string]*topicLimit)}
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
	if known := l.topics[topic]; known != nil && known.bytes > 0 {
		return max(min(own, known.bytes), minBatch)
	}
	return own
}

// learn asks for the limits of the topics of messages, before the client needs them. It waits
// for the answer only if a topic is new, and not at all while the brokers are slow: this is the
// goroutine that sends. The question runs in a goroutine of work.
func (l *limits) learn(ctx context.Context, work *sync.WaitGroup, client *kgo.Client, messages []versioning.Emitted) {
	topics, wait := l.unknown(messages)
	if len(topics) == 0 {
		return
	}
	answered := make(chan struct{})
	work.Go(func() {
		defer close(answered)
		found, err := l.ask(ctx, client, topics)
		l.set(topics, found, err)
	})
	if !wait {
		return
	}
	timer := time.NewTimer(learnWait)
	defer timer.Stop()
	select {
	case <-answered:
	case <-ctx.Done():
	case <-timer.C:
		l.mu.Lock()
		l.slow = true
		l.mu.Unlock()
	}
}

// unknown returns the topics to ask for, which count as asked, and whether to wait for the
// answer.
func (l *limits) unknown(messages []versioning.Emitted) (topics []string, wait bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range messages {
		topic := messages[i].Topic
		t := l.topics[topic]
		isNew := t == nil
		if isNew {
			t = new(topicLimit)
			l.topics[topic] = t
		}
		if !t.asking && time.Since(t.asked) >= askAgain {
			t.asking = true
			topics, wait = append(topics, topic), wait || isNew && !l.slow
		}
	}
	return topics, wait
}

// set records an answer. If there was none, what was known stays.
func (l *limits) set(topics []string, found map[string]int32, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slow = err != nil
	for _, topic := range topics {
		t := l.topics[topic]
		t.asking, t.asked = false, time.Now()
		if err == nil {
			t.bytes = found[topic]
		}
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
