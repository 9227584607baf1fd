package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// A sink is a store that does nothing.
type sink struct{ consumer.SplitByEntity }

func (*sink) Prepare(*versioning.Record) {}

func (*sink) Apply(_ context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	outcomes := make([]versioning.Outcome, len(records))
	for i := range outcomes {
		outcomes[i].Verdict = versioning.Applied
	}
	return versioning.Result{Outcomes: outcomes}, nil
}

// BenchmarkRun measures everything except the store: it reads from a broker in this process
// and ends when the offsets are committed.
func BenchmarkRun(b *testing.B) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "orders"))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	seeds := kgo.SeedBrokers(cluster.ListenAddrs()...)
	producer, err := kgo.NewClient(seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	for i := range b.N {
		value := fmt.Appendf(nil, `{"key":"order-%d","event":"order.placed","set":{"total":1234}}`, i)
		producer.Produce(b.Context(), &kgo.Record{Topic: "orders", Partition: int32(i % 4), Value: value}, nil)
	}
	if err := producer.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	done := &countdown{cancel: cancel}
	done.left.Store(int64(b.N))
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{seeds}, Group: group, Topics: []string{"orders"}, Store: &sink{},
		Decode: consumer.DecodeMessage, Hooks: []consumer.Hook{done},
		Logger: slog.New(slog.DiscardHandler), SweepEvery: -1, FireEvery: -1, // the sink has neither
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := worker.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// A countdown ends a run after so many records.
type countdown struct {
	left   atomic.Int64
	cancel context.CancelFunc
}

func (c *countdown) BatchEnd(_ context.Context, b consumer.Batch) {
	if c.left.Add(-int64(len(b.Records))) <= 0 {
		c.cancel()
	}
}
