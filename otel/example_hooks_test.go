package otel_test

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// What a worker calls: a batch that succeeds at the second attempt, the commit of its offsets, and a
// timer.
func ExampleObserver_BatchStart() {
	reader := sdk.NewManualReader()
	observer, err := otel.New(otel.Config{MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))})
	if err != nil {
		fmt.Println(err)
		return
	}
	applied := versioning.Outcome{Verdict: versioning.Applied, Entity: versioning.Entity{Machine: "order", Key: "42"}, Event: "placed"}
	records := []*versioning.Record{{Origin: versioning.Origin{Topic: "orders"}, Timestamp: time.Now()}}
	ctx := observer.BatchStart(context.Background(), consumer.BatchStart{Records: records})
	observer.Trouble(ctx, context.DeadlineExceeded, time.Second)
	observer.BatchEnd(ctx, consumer.Batch{Records: records, Outcomes: []versioning.Outcome{applied}})
	observer.Commit(ctx, consumer.Commit{Partitions: 1, Took: time.Millisecond, OK: true})
	observer.Maintained(ctx, consumer.Maintenance{Task: consumer.Firing, Settled: []versioning.Settled{{Record: records[0], Outcome: applied}}})
	printRecords(reader)
	// Output:
	// 1 batch applied
	// 1 fire applied
}

// A relay that runs without a worker.
func ExampleObserver_WatchRelay() {
	reader := sdk.NewManualReader()
	observer, err := otel.New(otel.Config{MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))})
	if err != nil {
		fmt.Println(err)
		return
	}
	store := versioningtest.NewMemory(versioning.Rules{Machine: order}) // or postgres.Open
	r, err := relay.New(relay.Config{Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")}, Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := observer.WatchRelay(r); err != nil {
		fmt.Println(err)
		return
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if m.Name == "pawl.relay.state" {
			for _, p := range m.Data.(metricdata.Gauge[int64]).DataPoints {
				if state, _ := p.Attributes.Value("pawl.state"); p.Value == 1 {
					fmt.Println(state.AsString())
				}
			}
		}
	}
	// Output: starting
}
