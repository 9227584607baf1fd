package otel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

var order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "placed", To: "pending"},
		{Event: "captured", From: statemachine.In("pending"), To: "paid"},
	},
	Terminal: statemachine.In("paid"),
})

// stopAfter ends a run after some records.
type stopAfter struct {
	left int
	stop context.CancelFunc
}

func (s *stopAfter) BatchEnd(_ context.Context, b consumer.Batch) {
	if s.left -= len(b.Records); s.left == 0 {
		s.stop()
	}
}

// A worker with metrics and traces. The second record is parked, and has a producer with a trace:
// the batch that releases it links to that trace.
func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	trace := kgo.RecordHeader{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}
	messages := []*kgo.Record{
		{Value: []byte(`{"key":"1","event":"placed"}`)},
		{Value: []byte(`{"key":"2","event":"captured"}`), Headers: []kgo.RecordHeader{trace}},
		{Value: []byte(`{"key":"2","event":"placed"}`)},
	}
	if err := produce(ctx, brokers, messages); err != nil {
		fmt.Println(err)
		return
	}

	reader, spans := sdk.NewManualReader(), tracetest.NewInMemoryExporter() // or exporters for Prometheus and OTLP
	observer, err := otel.New(otel.Config{
		Group:          "workers",
		MeterProvider:  sdk.NewMeterProvider(sdk.WithReader(reader)),
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		// Store: store, if it is a *postgres.Store
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	worker, err := consumer.New(consumer.Config{
		Client: []kgo.Opt{brokers}, Group: "workers", Topics: []string{"orders"},
		Store:    versioningtest.NewMemory(versioning.Rules{Machine: order}),
		Decode:   consumer.DecodeMessage,
		MaxBatch: 1, // for the example
		Logger:   slog.New(slog.DiscardHandler),
		Hooks:    []consumer.Hook{observer, &stopAfter{3, cancel}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := observer.Watch(worker); err != nil {
		fmt.Println(err)
		return
	}
	go observer.Run(ctx)
	if err := worker.Run(ctx); err != nil {
		fmt.Println(err)
		return
	}
	printRecords(reader)
	commits := 0
	for _, s := range spans.GetSpans() {
		if s.Name == "commit" { // one or several: they are made in the background
			commits++
			continue
		}
		fmt.Println(s.Name, "links:", len(s.Links))
	}
	fmt.Println("offsets were committed:", commits > 0)
	if err := observer.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 2 batch applied
	// 1 batch early no_entity
	// 1 release applied
	// process orders links: 0
	// process orders links: 1
	// process orders links: 1
	// offsets were committed: true
}

// printRecords prints the series of the counter of records.
func printRecords(reader sdk.Reader) {
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		fmt.Println(err)
		return
	}
	var lines []string
	for _, m := range data.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "pawl.records" {
			for _, p := range sum.DataPoints {
				task, _ := p.Attributes.Value("pawl.task")
				verdict, _ := p.Attributes.Value("pawl.verdict")
				reason, _ := p.Attributes.Value("pawl.reason")
				line := fmt.Sprintln(p.Value, task.AsString(), verdict.AsString(), reason.AsString())
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	fmt.Println(strings.Join(lines, "\n"))
}

func produce(ctx context.Context, brokers kgo.Opt, records []*kgo.Record) error {
	producer, err := kgo.NewClient(brokers, kgo.DefaultProduceTopic("orders"))
	if err != nil {
		return err
	}
	defer producer.Close()
	return producer.ProduceSync(ctx, records...).FirstErr()
}

// The backend of a gateway, with metrics.
func ExampleBackend() {
	reader := sdk.NewManualReader()
	backend, err := otel.Backend(otel.Config{MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))}, "memory", gatewaytest.NewMemory(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	g, err := gateway.New(gateway.Config{Backend: backend, Tenant: func(*http.Request) string { return "me" }})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") }))
	for range 2 {
		request := httptest.NewRequest(http.MethodPost, "/", nil)
		request.Header.Set("Idempotency-Key", `"k"`)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		fmt.Println(response.Body)
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		fmt.Println(err)
		return
	}
	var lines []string
	for _, p := range data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		operation, _ := p.Attributes.Value("pawl.gateway.operation")
		outcome, _ := p.Attributes.Value("pawl.gateway.outcome")
		lines = append(lines, fmt.Sprintln(operation.AsString(), outcome.AsString(), p.Count))
	}
	slices.Sort(lines)
	fmt.Print(strings.Join(lines, ""))
	// Output:
	// done
	// done
	// begin replay 1
	// begin run 1
	// finish stored 1
}
