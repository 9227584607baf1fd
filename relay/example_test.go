package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

type order struct {
	Total int64 `db:"total"`
}

type placed struct {
	Total int64 `json:"total"`
}

func place(f *statemachine.Firing, o *order, p placed) error {
	o.Total = p.Total
	f.Emit("ledger", map[string]int64{"owed": p.Total})
	return nil
}

var orders = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{{Event: "placed", To: "placed", Do: statemachine.Do(place)}},
	Terminal:    statemachine.In("placed"),
})

// withOrders is a database with schema pawl and a table orders.
var withOrders = testenv.Template("relayed", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, total bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

// A relay that runs alone publishes what transitions have emitted.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "ledger"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	url, drop := testenv.ExamplePostgres(withOrders)
	defer drop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: orders, Name: "orders", Source: "/shop"})
	if err != nil {
		fmt.Println(err)
		return
	}

	outcome, err := store.Do(ctx, versioning.Change{
		Machine: "order", Key: "o1", Event: "placed", Data: placed{Total: 42}, MessageID: "request-1",
	})
	fmt.Println(outcome.Verdict, err)

	r, err := relay.New(relay.Config{Client: []kgo.Opt{brokers}, Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- r.Run(run) }()

	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics("ledger"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reader.Close()
	for _, m := range reader.PollFetches(ctx).Records() {
		fmt.Printf("%s: %s\n", m.Key, m.Value)
		for _, h := range m.Headers {
			if strings.HasPrefix(h.Key, "ce_") && h.Key != "ce_time" {
				fmt.Printf("%s: %s\n", h.Key, h.Value)
			}
		}
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// applied <nil>
	// o1: {"owed":42}
	// ce_specversion: 1.0
	// ce_id: order/o1/1/0
	// ce_source: /shop
	// ce_type: placed
	// <nil>
}

// New reports everything that is wrong with a configuration.
func ExampleNew() {
	_, err := relay.New(relay.Config{Client: []kgo.Opt{kgo.TransactionalID("mine"), kgo.ConsumerGroup("group")}, PollEvery: -1})
	fmt.Println(err)
	fmt.Println(errors.Is(err, relay.ErrConfig))
	// Output:
	// relay configuration: Store is nil; open one with postgres.Open
	// relay configuration: PollEvery is -1ns; it must not be negative
	// relay configuration: Client: it has options for consumers; a relay only produces
	// true
}

// A relay that does not run yet is neither in trouble nor ready.
func ExampleRelay_Health() {
	r, err := relay.New(relay.Config{Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")}, Store: newOutbox().store()})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := r.Health()
	fmt.Println(h.State, h.Ready(), h.Reason)
	// Output: starting false Run was not called
}
