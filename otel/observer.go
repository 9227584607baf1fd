package otel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// scope is the name of the meter and of the tracer.
const scope = "github.com/pawl-go/pawl/otel"

// An Observer measures and traces one worker. It is a hook for consumer.Config.Hooks: a
// BatchStartHook, a BatchEndHook, a TroubleHook, a CommitHook and a MaintainHook. Its methods are
// safe for concurrent use.
type Observer struct {
	cfg    Config
	base   []attribute.KeyValue // of each metric
	meter  metric.Meter
	tracer trace.Tracer
	instruments

	series  series
	fields  []string // the headers that the propagator reads
	records *records
	topics  *names
	errors  *names

	oldest  atomic.Int64 // when the oldest record of the current batch was produced, in Unix nanoseconds; 0 if there is none
	settled atomic.Int64 // when the last batch ended; 0 if none has

	counts counts

	uncommitted uncommitted

	mu           sync.Mutex
	registration []metric.Registration
}

// New returns an observer. It creates the instruments; the errors of the meter provider, and those
// of the configuration ([ErrConfig]), are returned all at once.
func New(cfg Config) (*Observer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	o := &Observer{
		cfg:    cfg,
		base:   baseOf(cfg),
		meter:  cfg.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)),
		tracer: cfg.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		topics: newNames(cfg.MaxNames),
		errors: newNames(maxErrorTypes),
		fields: cfg.Propagator.Fields(),
	}
	o.series.init(o)
	err := o.create(o.meter)
	o.records = &records{
		counter: o.outcomes, base: o.base, events: cfg.Events,
		machines: newNames(cfg.MaxNames), eventNames: newNames(cfg.MaxNames), reasons: newNames(cfg.MaxNames),
		series: make(map[outcomeKey]metric.MeasurementOption),
	}
	if err == nil {
		err = o.watchStore()
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// baseOf returns the attributes of each metric.
func baseOf(cfg Config) []attribute.KeyValue {
	base := slices.Clone(cfg.Attributes)
	if cfg.Group != "" {
		base = append(base, semconv.MessagingConsumerGroupName(cfg.Group))
	}
	return base
}

// register calls observe whenever the metrics are collected, until Close.
func (o *Observer) register(observe metric.Callback, instruments ...metric.Observable) error {
	registration, err := o.meter.RegisterCallback(observe, instruments...)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.registration = append(o.registration, registration)
	return nil
}

// Close ends the gauges of the observer: what [Observer.Watch], [Observer.WatchRelay] and New have
// registered is no longer collected. It is only needed if the meter provider outlives the worker.
func (o *Observer) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var problems []error
	for _, r := range o.registration {
		problems = append(problems, r.Unregister())
	}
	o.registration = nil
	return errors.Join(problems...)
}

// A flight is a batch that is being applied.
type flight struct {
	span   trace.Span
	traced bool
	links  int
}

type flightKey struct{ of *Observer }

// BatchStart implements consumer.BatchStartHook. It starts the span of the batch.
func (o *Observer) BatchStart(ctx context.Context, b consumer.BatchStart) context.Context {
	o.oldest.Store(oldestOf(b.Records))
	topic := o.consumed(ctx, b.Records)
	o.decode.Record(ctx, b.Decode.Seconds(), o.series.base)
	f := &flight{}
	ctx = o.startBatch(ctx, f, b.Records, topic)
	return context.WithValue(ctx, flightKey{o}, f)
}

// BatchEnd implements consumer.BatchEndHook. It counts the batch and ends its span.
func (o *Observer) BatchEnd(ctx context.Context, b consumer.Batch) {
	now := time.Now()
	if oldest := o.oldest.Swap(0); oldest != 0 {
		o.age.Record(ctx, max(0, now.Sub(time.Unix(0, oldest)).Seconds()), o.series.base)
	}
	o.settled.Store(now.UnixNano())
	t := tally{events: o.cfg.Events}
	undecided := 0
	for i := range b.Outcomes {
		if b.Outcomes[i].Verdict == versioning.Undecided {
			undecided++ // it is delivered again, and gets its verdict then
			continue
		}
		t.add(inBatch, &b.Outcomes[i])
	}
	for i := range b.Released {
		t.add(inRelease, &b.Released[i].Outcome)
	}
	o.records.record(ctx, &t)
	o.size.Record(ctx, int64(len(b.Records)), o.series.base)
	o.process.Record(ctx, b.Apply.Seconds(), o.series.process[undecided == 0])
	if f, ok := ctx.Value(flightKey{o}).(*flight); ok {
		o.endBatch(f, b, &t, undecided)
		o.uncommitted.add(f.span.SpanContext(), now, o.cfg.MaxLinks)
	}
}

// Trouble implements consumer.TroubleHook. It counts the retry by its cause.
func (o *Observer) Trouble(ctx context.Context, err error, retryIn time.Duration) {
	cause := o.errorType(err)
	o.retries.Add(ctx, 1, o.with(cause))
	if f, ok := ctx.Value(flightKey{o}).(*flight); ok {
		f.span.AddEvent("retry", trace.WithAttributes(cause, attribute.Float64("pawl.retry_in", retryIn.Seconds())))
	}
}

// Commit implements consumer.CommitHook. It measures the commit, and makes a span for it.
func (o *Observer) Commit(ctx context.Context, c consumer.Commit) {
	o.operation.Record(ctx, c.Took.Seconds(), o.series.commit[c.OK])
	o.traceCommit(ctx, c)
}

// Maintained implements consumer.MaintainHook. It counts what was settled beside the batches, and
// makes a span for it.
func (o *Observer) Maintained(ctx context.Context, m consumer.Maintenance) {
	t := tally{events: o.cfg.Events}
	for i := range m.Settled {
		t.add(string(m.Task), &m.Settled[i].Outcome)
	}
	o.records.record(ctx, &t)
	o.records.expired(ctx, m.Expired)
	attributes := []attribute.KeyValue{taskKey.String(string(m.Task))}
	if m.Err != nil {
		attributes = append(attributes, o.errorType(m.Err))
	}
	o.maintenance.Record(ctx, m.Took.Seconds(), o.with(attributes...))
	o.traceMaintenance(ctx, m, &t)
}

// consumed counts the records of a batch by topic. It returns the topic, or "" if there are several.
func (o *Observer) consumed(ctx context.Context, records []*versioning.Record) (only string) {
	for first := 0; first < len(records); {
		topic, end := records[first].Origin.Topic, first+1
		for end < len(records) && records[end].Origin.Topic == topic {
			end++
		}
		topic = o.topics.bound(topic)
		o.consumedMessages.Add(ctx, int64(end-first), o.series.ofTopic(o, topic))
		if only = topic; first > 0 {
			only = ""
		}
		first = end
	}
	return only
}

// oldestOf returns when the oldest of the records was produced, or 0.
func oldestOf(records []*versioning.Record) int64 {
	var oldest time.Time
	for _, r := range records {
		if !r.Timestamp.IsZero() && (oldest.IsZero() || r.Timestamp.Before(oldest)) {
			oldest = r.Timestamp
		}
	}
	if oldest.IsZero() {
		return 0
	}
	return oldest.UnixNano()
}

var (
	_ consumer.BatchStartHook = (*Observer)(nil)
	_ consumer.BatchEndHook   = (*Observer)(nil)
	_ consumer.TroubleHook    = (*Observer)(nil)
	_ consumer.CommitHook     = (*Observer)(nil)
	_ consumer.MaintainHook   = (*Observer)(nil)
)
