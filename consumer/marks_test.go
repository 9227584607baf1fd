package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// backed is a store for the entities of decodeKey, each of which is created once.
func backed() *versioningtest.Memory {
	return versioningtest.NewMemory(versioning.Rules{Machine: statemachine.MustCompile(statemachine.Definition{
		Name: "m", Version: 1, Transitions: []statemachine.Transition{{Event: "go", To: "gone"}},
		Terminal: statemachine.In("gone"),
	})})
}

func span(from, to int) (keys []string) {
	for i := from; i < to; i++ {
		keys = append(keys, fmt.Sprint("k", i))
	}
	return keys
}

func awaitRows(t *testing.T, store *versioningtest.Memory, want int) {
	t.Helper()
	await(t, time.Minute, func() error {
		if got := len(store.Rows()); got != want {
			return fmt.Errorf("%d rows, want %d", got, want)
		}
		return nil
	})
}

const goesBack = "going back to its mark"

// If the database has lost what the group has committed, a worker that starts goes back to the
// mark and logs it.
func TestBackToMark(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 2)
		store := backed()
		first := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 5)...)
		b.awaitCommitted("t", 0, 5)
		backup := store.Backup()
		b.produce("t", 0, span(5, 9)...)
		b.produce("t", 1, span(9, 12)...)
		b.awaitCommitted("t", 0, 9)
		b.awaitCommitted("t", 1, 3)
		first.stop()
		store.Restore(backup)
		second := start(t, b.config(protocol, store, "t"))
		awaitRows(t, store, 12)
		second.stop()
		if got := second.logs.matching(goesBack, "topic=t partition=0 committed=9 offset=5"); len(got) != 1 {
			t.Errorf("%d lines say that it goes back, want 1:\n%s", len(got), second.logs)
		}
		// Of partition 1 the backup has no mark at all.
		if got := second.logs.matching(goesBack, "topic=t partition=1 committed=3 offset=-2"); len(got) != 1 {
			t.Errorf("%d lines say that it goes back to the start, want 1:\n%s", len(got), second.logs)
		}
	})
}

// If the broker was upgraded from a version without topic IDs, the marks have the IDs that
// were derived from the topics' names.
func TestMarkOfOlderBroker(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		store := backed()
		empty := store.Backup()
		worker := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 5)...)
		b.awaitCommitted("t", 0, 5)
		worker.stop()
		store.Restore(empty)
		id := consumer.TopicID("t", [16]byte{})
		_, server, err := store.Marks(t.Context(), group, nil)
		if err == nil {
			err = store.SetMarks(t.Context(), group, server, []versioning.Mark{{Topic: "t", TopicID: id, Offset: 3}})
		}
		if err != nil {
			t.Fatal(err)
		}
		worker = start(t, b.config(protocol, store, "t"))
		awaitRows(t, store, 2)
		worker.stop()
	})
}

// If the database is replaced by one that has lost commits while the worker runs, the worker
// goes back too, with or without records to settle.
func TestBackToMarkWhileRunning(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]string{"busy": span(8, 12), "idle": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, protocol consumer.Protocol) {
				b := startBroker(t)
				b.topic("t", 1)
				store := backed()
				worker := start(t, b.config(protocol, store, "t"))
				b.produce("t", 0, span(0, 5)...)
				b.awaitCommitted("t", 0, 5)
				backup := store.Backup()
				b.produce("t", 0, span(5, 8)...)
				b.awaitCommitted("t", 0, 8)
				store.Restore(backup)
				if len(more) > 0 {
					b.produce("t", 0, more...)
				}
				awaitRows(t, store, 8+len(more))
				b.awaitCommitted("t", 0, int64(8+len(more)))
				worker.stop()
			})
		})
	}
}

// A group that Kafka's tools move forward begins where it was moved to, and the log says so.
func TestMovedForward(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		store := backed()
		worker := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 2)...)
		b.awaitCommitted("t", 0, 2)
		worker.stop()
		b.produce("t", 0, span(2, 6)...)
		offsets, err := b.admin.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		moved := offsets["t"][0].Offset // with the metadata that the worker has given it
		moved.At = 4
		if err := b.admin.CommitAllOffsets(t.Context(), group, kadm.Offsets{"t": {0: moved}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			worker = start(t, b.config(protocol, store, "t"))
			b.awaitCommitted("t", 0, 6)
			worker.stop()
		}
		awaitRows(t, store, 4)
		if got := worker.logs.matching("not committed by a Pawl worker"); len(got) > 0 {
			t.Errorf("the log of a worker that found all as it was left:\n%s", worker.logs)
		}
	})
}

// A group without a committed offset that would begin at the end begins at its mark.
func TestMarkWithoutOffset(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		store := backed()
		worker := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 2)...)
		b.awaitCommitted("t", 0, 2)
		worker.stop()
		await(t, time.Minute, func() error {
			response, err := b.admin.DeleteGroup(t.Context(), group)
			if err == nil {
				err = response.Err
			}
			return err
		})
		b.produce("t", 0, span(2, 4)...)
		cfg := b.config(protocol, store, "t")
		cfg.Client = append(cfg.Client, kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
		worker = start(t, cfg)
		awaitRows(t, store, 4)
		worker.stop()
	})
}

// The worker goes back if a mark is behind what it wrote on the same server: somebody has
// restored the table.
func TestMarkSetBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		store := backed()
		worker := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 5)...)
		b.awaitCommitted("t", 0, 5)
		ids, err := b.admin.ListTopics(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		_, server, err := store.Marks(t.Context(), group, nil)
		if err == nil {
			err = store.SetMarks(t.Context(), group, server, []versioning.Mark{{Topic: "t", TopicID: ids["t"].ID, Offset: 2, Last: 5}})
		}
		if err != nil {
			t.Fatal(err)
		}
		b.produce("t", 0, span(5, 6)...)
		await(t, time.Minute, func() error {
			if len(worker.logs.matching(goesBack, "topic=t partition=0 committed=5 offset=2")) == 0 {
				return errors.New("the worker has not gone back")
			}
			return nil
		})
		awaitRows(t, store, 6)
		b.awaitCommitted("t", 0, 6)
		worker.stop()
	})
}

// While a broker does not describe a topic, for example during a leader election, the worker
// has no ID to look for marks by. It must not take them for lost.
func TestTopicIDComesLate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		store := backed()
		worker := start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(0, 5)...)
		b.awaitCommitted("t", 0, 5)
		worker.stop()
		var mu sync.Mutex
		asked, answers := false, 3 // those without the topic, after the offsets were fetched
		b.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			asked = true
			return nil, nil, false
		})
		b.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			if !asked || answers == 0 {
				return nil, nil, false
			}
			answers--
			response := request.ResponseKind().(*kmsg.MetadataResponse)
			broker := kmsg.NewMetadataResponseBroker()
			broker.Host, broker.Port = "localhost", 9092
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.ErrorCode = new("t"), kerr.LeaderNotAvailable.Code
			response.Brokers, response.Topics = append(response.Brokers, broker), append(response.Topics, topic)
			return response, nil, true
		})
		worker = start(t, b.config(protocol, store, "t"))
		b.produce("t", 0, span(5, 6)...)
		awaitRows(t, store, 6)
		b.awaitCommitted("t", 0, 6)
		worker.stop()
		if mu.Lock(); answers > 0 {
			t.Errorf("%d answers without the topic were not asked for", answers)
		}
		mu.Unlock()
		if got := worker.logs.matching(goesBack); len(got) > 0 {
			t.Errorf("the worker takes a mark for lost:\n%s", worker.logs)
		}
	})
}

// A flapping store is behind a pooler that alternates between two servers.
type flapping struct {
	*fake

	asked atomic.Int64 // how often marks were read
}

func (f *flapping) Marks(ctx context.Context, group string, ids [][16]byte) ([]versioning.Mark, versioning.Server, error) {
	marks, _, err := f.fake.Marks(ctx, group, ids)
	return marks, versioning.Server(fmt.Sprint("server ", f.asked.Add(1)%2)), err
}

func (*flapping) SetMarks(context.Context, string, versioning.Server, []versioning.Mark) error {
	return versioning.ErrServerChanged
}

// A worker that finds another server whenever it has gone back to its marks waits longer and
// longer before it joins its group again, and it stops at once.
func TestServersAlternate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("t", 1)
		b.produce("t", 0, "k")
		store := &flapping{fake: newFake()}
		store.on(func(context.Context, []*versioning.Record) (int, error) { return 0, versioning.ErrServerChanged })
		w := start(t, b.config(protocol, store, "t"))
		pass(10 * time.Minute)
		if n := store.asked.Load(); n < 30 || n > 120 {
			t.Errorf("the worker went back to its marks %d times in ten minutes, want about one in ten seconds", n)
		}
		if took := w.stop(); took > time.Second {
			t.Errorf("the worker took %v to stop", took)
		}
	})
}
