package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var payment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "authorized", To: "open"},
		{Event: "captured", From: statemachine.In("open"), To: "captured"},
	},
	Terminal: statemachine.In("captured"),
})

// withPayments is a database with schema pawl and a table payments.
var withPayments = testenv.Template("payments", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE payments (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

// onBatch is a hook that calls a function after each batch.
type onBatch func()

func (f onBatch) BatchEnd(context.Context, consumer.Batch) { f() }

// New reports everything that is wrong with a configuration.
func ExampleNew_problems() {
	_, err := consumer.New(consumer.Config{
		Client:   []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Group:    "workers",
		Topics:   []string{"payments"},
		Store:    versioningtest.NewMemory(versioning.Rules{Machine: payment}),
		RetryMin: time.Minute,
		RetryMax: time.Second,
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, consumer.ErrConfig))
	// Output:
	// worker configuration: Decode is nil; write one, or use consumer.JSON
	// worker configuration: RetryMin is 1m0s and RetryMax 1s; they must not be negative, and RetryMin not above RetryMax
	// true
}

// A worker that runs is live and, unless it is in trouble, ready.
func ExampleWorker_Health() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := produce(ctx, brokers, []string{`{"key":"p1","event":"authorized"}`}); err != nil {
		fmt.Println(err)
		return
	}

	var worker *consumer.Worker
	report := func() {
		h := worker.Health()
		fmt.Printf("%s: live %t, ready %t, partitions %d\n", h.State, h.Live(), h.Ready(), h.Partitions)
	}
	worker, err = consumer.New(consumer.Config{
		Client: []kgo.Opt{brokers},
		Group:  "workers",
		Topics: []string{"orders"},
		Store:  versioningtest.NewMemory(versioning.Rules{Machine: payment}),
		Decode: consumer.DecodeMessage,
		Logger: slog.New(slog.DiscardHandler),
		Hooks: []consumer.Hook{onBatch(func() {
			report()
			cancel()
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	report()
	if err := worker.Run(ctx); err != nil {
		fmt.Println(err)
		return
	}
	report()
	// Output:
	// starting: live true, ready false, partitions 0
	// consuming: live true, ready true, partitions 1
	// stopped: live false, ready false, partitions 0
}

// Kubernetes asks /healthz whether to restart a worker and /readyz whether it works. This
// one does not run yet.
func ExampleWorker_Handler() {
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
		Group:  "workers",
		Topics: []string{"payments"},
		Store:  versioningtest.NewMemory(versioning.Rules{Machine: payment}),
		Decode: consumer.DecodeMessage,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := worker.Handler() // for http.Server
	for _, path := range []string{"/healthz", "/readyz"} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		fmt.Println(path, answer.Code)
	}
	// Output:
	// /healthz 200
	// /readyz 503
}

// A worker copies its dead letters to a topic, where other programs can read them.
func ExampleDeadLetterSuffix() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "orders.dlq"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := produce(ctx, brokers, []string{`{"key":"p1","event":"lost"}`}); err != nil {
		fmt.Println(err)
		return
	}
	url, drop := testenv.ExamplePostgres(withPayments)
	defer drop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: payment, Name: "payments"})
	if err != nil {
		fmt.Println(err)
		return
	}
	worker, err := consumer.New(consumer.Config{
		Client:          []kgo.Opt{brokers},
		Group:           "workers",
		Topics:          []string{"orders"},
		Store:           store,
		Decode:          consumer.DecodeMessage,
		DeadLetterTopic: consumer.DeadLetterSuffix,
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()

	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics("orders.dlq"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reader.Close()
	for _, r := range reader.PollFetches(ctx).Records() {
		fmt.Printf("%s\n", r.Value)
		for _, h := range r.Headers {
			if h.Key == consumer.HeaderReason || h.Key == consumer.HeaderTopic {
				fmt.Printf("%s: %s\n", h.Key, h.Value)
			}
		}
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// {"key":"p1","event":"lost"}
	// pawl_reason: unknown_event
	// pawl_topic: orders
	// <nil>
}
