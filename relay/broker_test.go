package relay_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/relay"
)

// TestLanesMoveOnBroker is TestLanesMove with transactions on the broker of the environment,
// which is a real one with PAWL_TEST_ENV=servers.
func TestLanesMoveOnBroker(t *testing.T) {
	t.Parallel()
	if os.Getenv(testenv.ModeVariable) == "embedded" {
		t.Skip("TestLanesMove runs on an embedded broker")
	}
	topic, opts := testenv.Topic(t, 3), testenv.KafkaOpts(t)
	o := newOutbox()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	emitting := make(chan struct{})
	go func() {
		defer close(emitting)
		for i := 0; ctx.Err() == nil; i++ {
			e := fmt.Sprint("e", i%40)
			o.emit(topic, e, e)
			<-time.After(10 * time.Millisecond)
		}
	}()
	var stores []*fake
	var relays []*running
	for round := range 8 {
		s := o.store()
		stores, relays = append(stores, s), append(relays, start(t, relay.Config{Client: opts, Store: s, TransactionalID: topic}))
		<-time.After(400 * time.Millisecond)
		switch round % 4 {
		case 1:
			loseBeforeDelete(stores[round])
		case 2:
			relays[round-1].stop()
		case 3:
			loseBeforeDelete(stores[round-3])
		}
	}
	cancel()
	<-emitting
	o.awaitEmpty(t)
	for _, r := range relays {
		r.cancel()
	}
	if n := wantInOrder(t, o, readCommitted(t, opts, topic)); n > 0 {
		t.Errorf("%d repeats", n)
	}
}

// loseBeforeDelete breaks a store's connection when its relay has published and not deleted.
func loseBeforeDelete(s *fake) {
	s.on(func(call string) error {
		if call == "before DeletePacks" {
			return errLost
		}
		return nil
	})
	<-time.After(100 * time.Millisecond)
	s.lose()
	s.on(nil)
}

// readCommitted returns all records of a topic that are committed. No transaction may be open
// for long.
func readCommitted(t *testing.T, opts []kgo.Opt, topic string) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var ends kadm.ListedOffsets
	testenv.Eventually(t, 30*time.Second, func() error {
		stable, err := admin.ListCommittedOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		if ends, err = admin.ListEndOffsets(t.Context(), topic); err != nil {
			return err
		}
		for _, end := range ends[topic] {
			if o, _ := stable.Lookup(topic, end.Partition); o.Offset != end.Offset {
				return fmt.Errorf("partition %d is stable up to %d, not %d", end.Partition, o.Offset, end.Offset)
			}
		}
		return nil
	})
	left := make(map[int32]int64)
	for _, end := range ends[topic] {
		if end.Offset > 0 {
			left[end.Partition] = end.Offset
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%v; left: %v", err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return records
}
