package otel

import (
	"errors"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
)

// The boundaries of the histograms' buckets.
var (
	secondBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	ageBounds    = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400}
	sizeBounds   = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}
)

// instruments are what the hooks write to.
type instruments struct {
	consumedMessages metric.Int64Counter
	outcomes         metric.Int64Counter
	retries          metric.Int64Counter

	process, operation, decode, maintenance, age metric.Float64Histogram

	size metric.Int64Histogram
}

// create creates the instruments.
func (in *instruments) create(m metric.Meter) error {
	var problems []error
	counter := func(name, unit, text string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(text))
		problems = append(problems, err)
		return c
	}
	seconds := func(name, text string, bounds []float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(text), metric.WithExplicitBucketBoundaries(bounds...))
		problems = append(problems, err)
		return h
	}
	consumed, process, operation := messagingconv.ClientConsumedMessages{}, messagingconv.ProcessDuration{}, messagingconv.ClientOperationDuration{}
	in.consumedMessages = counter(consumed.Name(), consumed.Unit(), "Records of batches, by topic.")
	in.outcomes = counter("pawl.records", "{record}", "Records that got a verdict.")
	in.retries = counter("pawl.retries", "{retry}", "Attempts to decode a record or to apply a batch that have failed and are repeated.")
	in.process = seconds(process.Name(), "Time to apply a batch in the database, with retries.", secondBounds)
	in.operation = seconds(operation.Name(), "Time to write marks and commit offsets.", secondBounds)
	in.decode = seconds("pawl.decode.duration", "Time to decode a batch.", secondBounds)
	in.maintenance = seconds("pawl.maintenance.duration", "Time of sweeps, timers and redrives that have settled something or failed.", secondBounds)
	in.age = seconds("pawl.record.age", "Age of the oldest record of a batch when the batch has ended.", ageBounds)
	var err error
	in.size, err = m.Int64Histogram("pawl.batch.size", metric.WithUnit("{record}"), metric.WithDescription("Records per batch."),
		metric.WithExplicitBucketBoundaries(sizeBounds...))
	return errors.Join(append(problems, err)...)
}
