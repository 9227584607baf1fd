package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

func TestRunSettlesAndCommits(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 3)
		store := newFake()
		b.guardCommits("orders", store)
		for p := range int32(3) {
			b.produce("orders", p, keys(100)...) // before the worker: it reads from the start
		}
		w := start(t, b.config(protocol, store, "orders"))
		for p := range int32(3) {
			b.awaitCommitted("orders", p, 100)
		}
		b.produce("orders", 1, keys(50)...)
		b.awaitCommitted("orders", 1, 150)
		if took := w.stop(); took > time.Second {
			t.Errorf("stopping an idle worker took %v", took)
		}
		if n := b.members(); n != 0 {
			t.Errorf("the group still has %d members", n)
		}
		for origin, times := range store.settled {
			if times != 1 || origin.TopicID == [16]byte{} {
				t.Fatalf("%v (topic ID %x) was settled %d times", origin, origin.TopicID, times)
			}
		}

		// The next worker continues where this one stopped.
		w = start(t, b.config(protocol, store, "orders"))
		b.produce("orders", 2, "last")
		b.awaitCommitted("orders", 2, 101)
		w.stop()
		if n := store.count("orders"); n != 351 {
			t.Errorf("%d records settled, want 351", n)
		}
	})
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		worker, err := consumer.New(b.config(consumer.Classic, newFake(), "orders"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := worker.Run(ctx); err != nil {
			t.Errorf("Run with a context that is done = %v, want nil", err)
		}
		if err := worker.Run(t.Context()); !errors.Is(err, consumer.ErrStarted) {
			t.Errorf("second Run = %v, want ErrStarted", err)
		}
	})
}

// However a batch is split, records of one entity stay in order and are never in two
// concurrent lists.
func TestOrderByEntity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		const entities, records = 50, 2000
		var want [entities][]string
		var batch []*kgo.Record
		for i := range records {
			key := fmt.Sprintf("k%d", i%entities)
			want[i%entities] = append(want[i%entities], fmt.Sprintf("orders/0@%d", i))
			if i%7 == 0 { // ties two entities together, in pairs: not all of them to one
				other := (i%entities)&^1 | 1 - (i%entities)&1
				key += fmt.Sprintf("+k%d", other)
				want[other] = append(want[other], fmt.Sprintf("orders/0@%d", i))
			}
			batch = append(batch, &kgo.Record{Topic: "orders", Key: []byte(key)})
		}
		b.produceRecords(batch...)
		store := newFake()
		store.on(func(context.Context, []*versioning.Record) (int, error) {
			pass(time.Millisecond)
			return -1, nil
		})
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.Connections, cfg.MaxBatch = 4, 700
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, records)
		w.stop()
		if len(store.overlap) > 0 {
			t.Errorf("entities in two lists at the same time: %v", store.overlap)
		}
		if store.most != 4 {
			t.Errorf("%d lists at the same time, want 4", store.most)
		}
		for i, w := range want {
			if got := store.order[fmt.Sprintf("k%d", i)]; fmt.Sprint(got) != fmt.Sprint(w) {
				t.Errorf("entity k%d: order %v, want %v", i, got, w)
			}
		}
	})
}

func TestSmallBatchTakesOneConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, keys(100)...)
		store := newFake()
		w := start(t, b.config(consumer.Classic, store, "orders"))
		b.awaitCommitted("orders", 0, 100)
		w.stop()
		if store.most != 1 {
			t.Errorf("100 records were spread over %d connections", store.most)
		}
	})
}

// Run returns errors that retrying cannot fix, and leaves the group.
func TestUnmendableBrokerErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault kfake.Fault
		want  error
	}{
		"fetch":  {kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1}, kerr.TopicAuthorizationFailed},
		"join":   {kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.GroupAuthorizationFailed, Count: -1}, kerr.GroupAuthorizationFailed},
		"fenced": {kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.FencedInstanceID, Count: -1}, kerr.FencedInstanceID},
		"topic":  {kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1}, kerr.TopicAuthorizationFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := startBroker(t)
				b.topic("orders", 1)
				b.produce("orders", 0, "a")
				b.Fault(tt.fault)
				w := start(t, b.config(consumer.Classic, newFake(), "orders"))
				if err := w.wait(); !errors.Is(err, tt.want) {
					t.Errorf("Run = %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var net kfake.VirtualNetwork
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(net.Listen),
			kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "password"))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, Err: kerr.SaslAuthenticationFailed, Count: -1})
		w := start(t, consumer.Config{
			Client: []kgo.Opt{
				kgo.SeedBrokers("localhost:9092"), kgo.Dialer(net.DialContext),
				kgo.SASL(plain.Auth{User: "admin", Pass: "password"}.AsMechanism()),
			},
			Group: group, Topics: []string{"orders"}, Store: newFake(), Decode: decodeKey,
		})
		if err := w.wait(); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("Run = %v, want %v", err, kerr.SaslAuthenticationFailed)
		}
	})
}
