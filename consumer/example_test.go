package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// printer is a hook that prints verdicts, and ends the run after the last one.
type printer struct {
	left int
	stop context.CancelFunc
}

func (p *printer) BatchEnd(_ context.Context, b consumer.Batch) {
	for i, o := range b.Outcomes {
		fmt.Println(b.Records[i].Origin, "is", o.Verdict)
	}
	if p.left -= len(b.Outcomes); p.left == 0 {
		p.stop()
	}
}

// A worker from end to end, on a broker and a store in memory.
func Example() {
	order := statemachine.MustCompile(statemachine.Definition{
		Name: "order", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "order.placed", To: "pending"},
			{Event: "payment.captured", From: statemachine.In("pending"), To: "paid"},
			{Event: "order.shipped", From: statemachine.In("paid"), To: "shipped"},
		},
		Terminal: statemachine.In("shipped"),
	})
	store := versioningtest.NewMemory(versioning.Rules{Machine: order}) // or postgres.Open

	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	messages := []string{
		`{"key":"7","event":"order.placed","id":"a"}`,
		`{"key":"7","event":"order.placed","id":"a"}`, // sent again
		`{"key":"7","event":"order.shipped","id":"c"}`,
		`{"key":"7","event":"payment.captured","id":"b"}`, // late: the shipping had to wait for it
		`{"key":"7","event":"order.lost","id":"d"}`,
		`not JSON`,
	}
	if err := produce(ctx, brokers, messages); err != nil {
		fmt.Println(err)
		return
	}

	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{brokers},
		Group:  "order-workers",
		Topics: []string{"orders"},
		Store:  store,
		Decode: consumer.DecodeMessage,

		MaxBatch: 1, // so that each record's verdict is seen as it comes
		Logger:   slog.New(slog.DiscardHandler),
		Hooks:    []consumer.Hook{&printer{len(messages), cancel}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := worker.Run(ctx); err != nil {
		fmt.Println(err)
		return
	}
	row, _ := store.Row(versioning.Entity{Machine: "order", Key: "7"})
	fmt.Printf("order 7 is %s, version %d\n", row.State, row.Version)
	// Output:
	// orders/0@0 is applied
	// orders/0@1 is duplicate
	// orders/0@2 is early
	// orders/0@3 is applied
	// orders/0@4 is rejected
	// orders/0@5 is rejected
	// order 7 is shipped, version 3
}

func produce(ctx context.Context, brokers kgo.Opt, messages []string) error {
	producer, err := kgo.NewClient(brokers, kgo.DefaultProduceTopic("orders"))
	if err != nil {
		return err
	}
	defer producer.Close()
	for _, m := range messages {
		if err := producer.ProduceSync(ctx, kgo.StringRecord(m)).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}
