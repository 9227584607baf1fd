package contend

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// scrapeEvery is how often the metrics are collected. Most Prometheus servers do that less often.
const scrapeEvery = time.Second

// observe returns an observer with all metrics, and with a span for each batch, which is sampled
// and then dropped instead of sent. stop ends what it has started.
func observe(ctx context.Context, job Job, store *postgres.Store) (observer *otel.Observer, stop func(), err error) {
	reader := sdk.NewManualReader()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}))
	observer, err = otel.New(otel.Config{
		Group: job.Group, Store: store, MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader)), TracerProvider: tracer,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("observe the worker: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { observer.Run(ctx) })
	running.Go(func() { scrape(ctx, reader) })
	return observer, func() {
		cancel()
		running.Wait()
		_ = tracer.Shutdown(context.WithoutCancel(ctx)) // what is dropped can't fail
	}, nil
}

// scrape collects the metrics until ctx is canceled.
func scrape(ctx context.Context, reader sdk.Reader) {
	ticker := time.NewTicker(scrapeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			var data metricdata.ResourceMetrics
			_ = reader.Collect(ctx, &data) // the run may have ended
		}
	}
}

// nowhere is an exporter that drops spans.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }
