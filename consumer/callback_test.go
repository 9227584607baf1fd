package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

var errBug = errors.New("a bug")

// A badHook panics in the methods that are set.
type badHook struct{ start, end, trouble, commit, maintained bool }

func (h badHook) BatchStart(context.Context, consumer.BatchStart) context.Context {
	if h.start {
		panic(errBug)
	}
	return nil
}

func (h badHook) BatchEnd(context.Context, consumer.Batch) {
	if h.end {
		panic(errBug)
	}
}

func (h badHook) Trouble(context.Context, error, time.Duration) {
	if h.trouble {
		panic(errBug)
	}
}

func (h badHook) Commit(context.Context, consumer.Commit) {
	if h.commit {
		panic(errBug)
	}
}

func (h badHook) Maintained(context.Context, consumer.Maintenance) {
	if h.maintained {
		panic(errBug)
	}
}

// A badHandler panics on lines that contain a text. If the text is "attrs", it panics in
// WithAttrs.
type badHandler struct{ at string }

func (h badHandler) Enabled(context.Context, slog.Level) bool {
	if h.at == "enabled" {
		panic(errBug)
	}
	return true
}

func (h badHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.at) {
		panic(errBug)
	}
	return nil
}

func (h badHandler) WithAttrs([]slog.Attr) slog.Handler {
	if h.at == "attrs" {
		panic(errBug)
	}
	return h
}

func (h badHandler) WithGroup(string) slog.Handler { return h }

// TestPanics checks that a panic in any callback, with lag or without, ends Run with an error
// that names the callback. No offset is committed past what is settled, and the next worker
// continues from there.
func TestPanics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*consumer.Config)
		want   string
	}{
		"BatchStart":        {func(c *consumer.Config) { c.Hooks = []consumer.Hook{badHook{start: true}} }, "Hooks[0].BatchStart"},
		"BatchEnd":          {func(c *consumer.Config) { c.Hooks = []consumer.Hook{badHook{}, badHook{end: true}} }, "Hooks[1].BatchEnd"},
		"Trouble":           {func(c *consumer.Config) { c.Hooks = []consumer.Hook{badHook{trouble: true}} }, "Hooks[0].Trouble"},
		"Commit":            {func(c *consumer.Config) { c.Hooks = []consumer.Hook{badHook{commit: true}} }, "Hooks[0].Commit"},
		"Handle":            {logger("settled"), "Logger"},
		"in Kafka's client": {logger("partitions assigned"), "Logger"},
		"in trouble":        {logger("database in trouble"), "Logger"},
		"Enabled":           {logger("enabled"), "Logger"},
		"WithAttrs":         {logger("attrs"), "Logger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, protocol consumer.Protocol) {
				b := startBroker(t)
				b.topic("orders", 2)
				store := newFake()
				b.guardCommits("orders", store)
				var calls atomic.Int32
				store.on(func(context.Context, []*versioning.Record) (int, error) {
					if calls.Add(1) == 3 { // in the middle of the lag
						return 10, errDown
					}
					return -1, nil
				})
				for p := range int32(2) {
					b.produce("orders", p, keys(1000)...)
				}
				cfg := b.config(protocol, store, "orders")
				cfg.MaxBatch = 200
				bad := cfg
				c.change(&bad)
				worker, err := consumer.New(bad)
				if err != nil {
					t.Fatal(err)
				}
				err = worker.Run(t.Context())
				panicked, ok := errors.AsType[*consumer.PanicError](err)
				if !ok || panicked.Callback != c.want || !errors.Is(err, errBug) || len(panicked.Stack) == 0 {
					t.Errorf("Run = %.200v, want a PanicError of %s", err, c.want)
				}
				if n := b.members(); n != 0 {
					t.Errorf("the group still has %d members", n)
				}
				w := start(t, cfg)
				for p := range int32(2) {
					b.awaitCommitted("orders", p, 1000)
				}
				w.stop()
				if n := store.count("orders"); n != 2000 {
					t.Errorf("%d records are settled, want 2000", n)
				}
			})
		})
	}
}

func logger(at string) func(*consumer.Config) {
	return func(c *consumer.Config) { c.Logger = slog.New(badHandler{at}) }
}

// A copying store has one dead letter to copy for each topic.
type copying struct {
	*fake

	topics []string
	copied chan int64
}

func (c *copying) CopyDeadLetters(ctx context.Context, _ map[string][]int32, _ int,
	copyTo func(context.Context, []versioning.DeadLetter) ([]int64, error),
) (int, error) {
	var letters []versioning.DeadLetter
	for i, topic := range c.topics {
		letters = append(letters, versioning.DeadLetter{ID: int64(i), Record: &versioning.Record{Origin: versioning.Origin{Topic: topic}}})
	}
	ids, err := copyTo(ctx, letters)
	for _, id := range ids {
		select {
		case c.copied <- id:
		default:
		}
	}
	return len(ids), err
}

// TestDeadLetterTopicPanics checks that dead letters of other topics are copied, that the log
// says what failed, and that the worker continues.
func TestDeadLetterTopicPanics(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.topic("good.dlq", 1)
		store := &copying{newFake(), []string{"bad", "good"}, make(chan int64, 1)}
		cfg := b.config(protocol, store, "orders")
		cfg.DeadLetterTopic = func(topic string) string {
			if topic == "bad" {
				panic(errBug)
			}
			return consumer.DeadLetterSuffix(topic)
		}
		w := start(t, cfg)
		if id := <-store.copied; id != 1 {
			t.Errorf("letter %d was copied, want 1", id)
		}
		await(t, time.Minute, func() error {
			if len(w.logs.matching("copy of dead letters failed", "DeadLetterTopic panicked: a bug")) == 0 {
				return errors.New("the log does not name the callback")
			}
			return nil
		})
		b.produce("orders", 0, keys(10)...)
		b.awaitCommitted("orders", 0, 10)
		w.stop()
	})
}

// TestPanicInDecode checks that a panic in Decode affects only its record.
func TestPanicInDecode(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		var failed atomic.Pointer[error]
		store.on(func(_ context.Context, records []*versioning.Record) (int, error) {
			for _, r := range records {
				if r.Err != nil {
					failed.Store(&r.Err)
				}
			}
			return -1, nil
		})
		cfg := b.config(protocol, store, "orders")
		cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
			if string(r.Key) == "k1" {
				panic(errBug)
			}
			return decodeKey(r)
		}
		b.produce("orders", 0, keys(3)...)
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 3)
		w.stop()
		if err := failed.Load(); err == nil || !errors.Is(*err, errBug) || !strings.HasPrefix(fmt.Sprint(*err), "Decode panicked: ") {
			t.Errorf("the record's error is %v, want a panic of Decode", err)
		}
	})
}
