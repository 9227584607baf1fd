package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A describing answers a relay's questions for limits.
type describing struct {
	mu    sync.Mutex
	takes time.Duration // until an answer
	err   error
	bytes map[string]int32
	asked int
}

func (d *describing) ask(ctx context.Context, _ *kgo.Client, _ []string) (map[string]int32, error) {
	d.mu.Lock()
	d.asked++
	takes, bytes, err := d.takes, d.bytes, d.err
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(takes):
		return bytes, err
	}
}

// A learning is limits that learn from a describing.
type learning struct {
	describing
	*limits

	work sync.WaitGroup
}

func newLearning() *learning {
	l := &learning{limits: newLimits(Config{})}
	l.limits.ask = l.describing.ask
	return l
}

// learn learns about topics, and returns how long that took.
func (l *learning) learn(t *testing.T, topics ...string) time.Duration {
	t.Helper()
	began := time.Now()
	messages := make([]versioning.Emitted, len(topics))
	for i := range topics {
		messages[i].Topic = topics[i]
	}
	l.limits.learn(t.Context(), &l.work, nil, messages)
	return time.Since(began)
}

// TestLearn checks that limits are known when the messages of a new topic are sent.
func TestLearn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLearning()
		l.takes, l.bytes = 10*time.Millisecond, map[string]int32{"small": 1000, "large": 10_000_000}
		if took := l.learn(t, "small", "small", "large", "other"); took != l.takes || l.asked != 1 {
			t.Errorf("%d questions took %v", l.asked, took)
		}
		if small, large, other := l.of("small"), l.of("large"), l.of("other"); small != 1000 || large <= 1000 || large != other {
			t.Errorf("limits: %d, %d, %d", small, large, other)
		}
		if took := l.learn(t, "small", "large", "other"); took > 0 || l.asked != 1 {
			t.Errorf("%d questions took %v, although all was asked", l.asked, took)
		}
	})
}

// TestLearnFromSlowBrokers checks that messages do not wait for long, and not for each topic, if
// brokers do not say which batches their topics take, and that the limits are learned late.
func TestLearnFromSlowBrokers(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"answer": nil, "error": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLearning()
				l.takes, l.bytes, l.err = time.Hour, map[string]int32{"topic 0": 1000}, err
				took := time.Duration(0)
				for i := range 20 {
					took += l.learn(t, fmt.Sprint("topic ", i))
				}
				if took > time.Second {
					t.Errorf("the messages of 20 topics have waited for %v", took)
				}
				<-time.After(21 * time.Hour)
				l.work.Wait()
				l.takes, l.err = time.Millisecond, nil
				if took := l.learn(t, "topic 0"); took > 0 {
					t.Errorf("messages of a topic that was asked for have waited for %v", took)
				}
				l.work.Wait()
				if n := l.of("topic 0"); n != 1000 {
					t.Errorf("limit: %d", n)
				}
				if took := l.learn(t, "topic new"); took != l.takes {
					t.Errorf("messages of a new topic have waited for %v, after the brokers have answered", took)
				}
			})
		})
	}
}

// TestLearnAgain checks that the relay asks again for a topic that did not exist, or whose limit
// may have changed, and that nothing waits for that.
func TestLearnAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLearning()
		l.takes = time.Millisecond
		l.learn(t, "late")
		for _, want := range []int32{1000, 2000} {
			before := l.of("late")
			l.bytes = map[string]int32{"late": want}
			if took := l.learn(t, "late"); took > 0 || l.of("late") != before {
				t.Errorf("the relay asks again at once; that took %v", took)
			}
			<-time.After(askAgain)
			if took := l.learn(t, "late"); took > 0 {
				t.Errorf("messages have waited for %v", took)
			}
			l.work.Wait()
			if n := l.of("late"); n != want {
				t.Errorf("limit %d, want %d", n, want)
			}
		}
	})
}
