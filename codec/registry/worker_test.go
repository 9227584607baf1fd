package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/codec"
	"github.com/pawl-go/pawl/codec/registry"
	"github.com/pawl-go/pawl/codec/registry/avro"
	"github.com/pawl-go/pawl/codec/registry/registrytest"
	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

type placed struct {
	ID string `avro:"id"`
}

// A worker that begins while its registry is down is troubled, and settles everything once the
// registry answers: what can be decoded is applied, and a record whose schema the registry does
// not know becomes a dead letter.
func TestWorker(t *testing.T) {
	t.Parallel()
	for _, fault := range []registrytest.Fault{registrytest.Down, registrytest.Slow, registrytest.Unavailable, registrytest.NotFound} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testWorker(t, fault) })
		})
	}
}

func testWorker(t *testing.T, fault registrytest.Fault) {
	t.Helper()
	server := registrytest.New()
	reg := open(t, server, registry.Config{})
	orders, err := avro.New[placed](reg, avro.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := orders.Register(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := range 10 {
		value, err := orders.Encode("orders", placed{fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			value = withID(99, "x").Value
		}
		records = append(records, &kgo.Record{Topic: "orders", Value: value})
	}
	brokers := produce(t, records)
	server.Fail(fault)

	store := versioningtest.NewMemory(versioning.Rules{Machine: statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{{Event: "order.placed", To: "placed"}},
		Terminal:    statemachine.In("placed"),
	})})
	worker, err := consumer.New(consumer.Config{
		Client: brokers, Group: "workers", Topics: []string{"orders"}, Store: store, Logger: slog.New(slog.DiscardHandler),
		Decode: codec.Decode(orders, func(p placed, _ *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: p.ID, Event: "order.placed"}}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	<-time.After(5 * time.Minute)
	h := worker.Health()
	if h.State != consumer.Troubled || h.Reason != "records can't be decoded; retrying" || !errors.Is(h.Err, versioning.ErrInfrastructure) {
		t.Errorf("health %+v", h)
	}
	if rows, dead := len(store.Rows()), store.DeadLetters(); rows != 0 || len(dead) != 0 {
		t.Errorf("%d rows, dead letters %+v", rows, dead)
	}
	server.Fail(registrytest.None)
	<-time.After(time.Minute)
	if h := worker.Health(); h.State != consumer.Consuming || h.Lag != 0 {
		t.Errorf("health %+v", h)
	}
	dead := store.DeadLetters()
	if rows := len(store.Rows()); rows != 9 || len(dead) != 1 {
		t.Fatalf("%d rows, dead letters %+v", rows, dead)
	}
	if o := dead[0].Outcome; o.Reason != versioning.ReasonUndecodable || !strings.Contains(o.Detail, "schema 99: the schema registry does not know it") {
		t.Errorf("dead letter: %+v", o)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// produce starts a broker in memory with records, and returns the options of its clients.
func produce(t *testing.T, records []*kgo.Record) []kgo.Opt {
	t.Helper()
	network := new(kfake.VirtualNetwork)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(network.DialContext)}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return opts
}
