package otel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawl-go/pawl/versioning"
)

// A Store counts what waits in the database. *postgres.Store is one.
type Store interface {
	// CountStored counts within limits, so that it is cheap however much waits.
	CountStored(ctx context.Context) (versioning.StoredCounts, error)

	// Contended returns how often the store had to judge records again because another
	// writer had changed their rows.
	Contended() int64
}

// Config configures an observer. The zero value of every field is useful.
type Config struct {
	// Group is the worker's consumer group, for the attribute messaging.consumer.group.name.
	// Empty leaves it out.
	Group string

	// Store is what Run counts in, and Contended is read from: usually the worker's
	// *postgres.Store. nil means that there are no such metrics.
	Store Store

	// MeterProvider and TracerProvider make the metrics and the spans. nil means the global
	// ones. For no spans at all, use the provider of package trace/noop.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider

	// Propagator reads the contexts of producers from the headers of records. nil means
	// the W3C's: traceparent and tracestate.
	Propagator propagation.TextMapPropagator

	// Attributes are added to each metric and span, for example to tell two workers of one
	// process apart. They must not change.
	Attributes []attribute.KeyValue

	// Events adds the event to the counter of records, as pawl.event. That multiplies its
	// series by the number of events, up to the limit.
	Events bool

	// MaxNames limits how many machines, topics, events and reasons are told apart, of each
	// kind. All others are "other". 0 means 100.
	MaxNames int

	// MaxLinks limits the links of a span. 0 means 32; negative means none.
	MaxLinks int

	// CountEvery is the time between two counts of Run. 0 means 15 seconds.
	CountEvery time.Duration

	// Logger gets what Run could not do. nil means slog.Default().
	Logger *slog.Logger
}

// ErrConfig matches every error that New returns for an unusable Config.
var ErrConfig = errors.New("observer configuration")

const (
	defaultMaxNames   = 100
	defaultMaxLinks   = 32
	defaultCountEvery = 15 * time.Second
)

func (c Config) withDefaults() Config {
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = propagation.TraceContext{}
	}
	c.MaxNames = cmp.Or(c.MaxNames, defaultMaxNames)
	c.MaxLinks = max(0, cmp.Or(c.MaxLinks, defaultMaxLinks))
	c.CountEvery = cmp.Or(c.CountEvery, defaultCountEvery)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// validate returns all errors of a configuration at once.
func (c Config) validate() error {
	var problems []error
	if c.MaxNames < 0 || c.MaxNames > maxSeries/4 {
		problems = append(problems, fmt.Errorf("%w: MaxNames is %d; it must be between 1 and %d", ErrConfig, c.MaxNames, maxSeries/4))
	}
	if c.CountEvery < 0 {
		problems = append(problems, fmt.Errorf("%w: CountEvery is %v; it must not be negative", ErrConfig, c.CountEvery))
	}
	return errors.Join(problems...)
}
