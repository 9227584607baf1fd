package otel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A lab has what an observer writes to.
type lab struct {
	*otel.Observer

	reader *sdk.ManualReader
	spans  *tracetest.SpanRecorder
}

// newLab returns an observer that samples all spans.
func newLab(tb testing.TB, cfg otel.Config) *lab {
	tb.Helper()
	l := &lab{reader: sdk.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	cfg.MeterProvider = sdk.NewMeterProvider(sdk.WithReader(l.reader))
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	}
	var err error
	if l.Observer, err = otel.New(cfg); err != nil {
		tb.Fatal(err)
	}
	return l
}

// collect returns the metrics: for each the values of its series, by their attributes. The value
// of a histogram is its count.
func (l *lab) collect(tb testing.TB) map[string]map[string]float64 {
	tb.Helper()
	return collect(tb, l.reader)
}

func collect(tb testing.TB, reader sdk.Reader) map[string]map[string]float64 {
	tb.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		tb.Fatal(err)
	}
	all := make(map[string]map[string]float64)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			series := make(map[string]float64)
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				points(series, d.DataPoints)
			case metricdata.Gauge[int64]:
				points(series, d.DataPoints)
			case metricdata.Gauge[float64]:
				points(series, d.DataPoints)
			case metricdata.Histogram[int64]:
				counts(series, d.DataPoints)
			case metricdata.Histogram[float64]:
				counts(series, d.DataPoints)
			default:
				tb.Fatalf("metric %s is a %T", m.Name, m.Data)
			}
			all[m.Name] = series
		}
	}
	return all
}

func points[N int64 | float64](into map[string]float64, from []metricdata.DataPoint[N]) {
	for _, p := range from {
		into[text(p.Attributes.ToSlice())] = float64(p.Value)
	}
}

func counts[N int64 | float64](into map[string]float64, from []metricdata.HistogramDataPoint[N]) {
	for _, p := range from {
		into[text(p.Attributes.ToSlice())] = float64(p.Count)
	}
}

// text returns attributes as one line, without those that each series of a metric of Kafka has.
func text(attributes []attribute.KeyValue) string {
	var parts []string
	for _, a := range attributes {
		if key := string(a.Key); key != "messaging.system" && key != "messaging.operation.type" {
			parts = append(parts, fmt.Sprintf("%s=%s", strings.TrimPrefix(key, "pawl."), a.Value.String()))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// outcome returns an outcome of an entity.
func outcome(machine, key string, event statemachine.Event, v versioning.Verdict, r versioning.Reason) versioning.Outcome {
	return versioning.Outcome{Verdict: v, Reason: r, Entity: versioning.Entity{Machine: machine, Key: key}, Event: event}
}

// traceparent returns the header of a producer's span.
func traceparent(n int, sampled bool) versioning.Header {
	flags := 0
	if sampled {
		flags = 1
	}
	return versioning.Header{Key: "traceparent", Value: fmt.Appendf(nil, "00-%032x-%016x-%02x", n, n, flags)}
}

// A reads counts what a propagator is asked.
type reads struct {
	propagation.TraceContext

	n int
}

func (r *reads) Extract(ctx context.Context, c propagation.TextMapCarrier) context.Context {
	r.n++
	return r.TraceContext.Extract(ctx, c)
}
