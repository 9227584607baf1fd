package otel

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// startBatch starts the span of a batch. The topic is empty if there are several.
func (o *Observer) startBatch(ctx context.Context, f *flight, records []*versioning.Record, topic string) context.Context {
	name := "process"
	if topic != "" {
		name += " " + topic
	}
	ctx, f.span = o.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindConsumer))
	if f.traced = f.span.IsRecording(); !f.traced {
		return ctx
	}
	f.span.SetAttributes(o.base...)
	f.span.SetAttributes(semconv.MessagingSystemKafka, semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess,
		semconv.MessagingBatchMessageCount(len(records)))
	if topic != "" {
		f.span.SetAttributes(semconv.MessagingDestinationName(topic))
	}
	for _, r := range records {
		if f.links >= o.cfg.MaxLinks {
			break
		}
		o.link(f, r)
	}
	return ctx
}

// endBatch ends the span of a batch.
func (o *Observer) endBatch(f *flight, b consumer.Batch, t *tally, undecided int) {
	if f.traced {
		for i := range b.Released {
			o.link(f, b.Released[i].Record, parkedKey.Bool(true))
		}
		f.span.SetAttributes(verdictsOf(t)...)
		f.span.SetAttributes(attribute.Float64("pawl.decode.duration", b.Decode.Seconds()))
	}
	if undecided > 0 {
		f.span.SetAttributes(semconv.ErrorTypeKey.String("given_up"))
		f.span.SetStatus(codes.Error, "some records were given up; Kafka delivers them again")
	}
	f.span.End()
}

// traceMaintenance makes a span for work that has just ended.
func (o *Observer) traceMaintenance(ctx context.Context, m consumer.Maintenance, t *tally) {
	now := time.Now()
	f := &flight{}
	_, f.span = o.tracer.Start(ctx, string(m.Task), trace.WithTimestamp(now.Add(-m.Took)), trace.WithAttributes(o.base...))
	if f.traced = f.span.IsRecording(); f.traced {
		f.span.SetAttributes(verdictsOf(t)...)
		for i := range m.Settled {
			if r := m.Settled[i].Record; r != nil {
				o.link(f, r, parkedKey.Bool(m.Task != consumer.Redriving && !r.IsTimer()))
			}
		}
	}
	if m.Err != nil {
		f.span.SetAttributes(o.errorType(m.Err))
		f.span.SetStatus(codes.Error, "the worker retries")
	}
	f.span.End(trace.WithTimestamp(now))
}

// verdictsOf returns how many records got each verdict, as attributes such as pawl.applied.
func verdictsOf(t *tally) (attributes []attribute.KeyValue) {
	var n [versioning.Diverged + 1]int64
	for i, key := range t.keys {
		n[min(key.verdict, versioning.Diverged)] += t.counts[i]
	}
	for v, n := range n {
		if n > 0 {
			attributes = append(attributes, attribute.Int64("pawl."+versioning.Verdict(v).String(), n))
		}
	}
	return attributes
}

// link links a span to the producer of a record, if the headers of the record have its context
// and its span is sampled. The number of links is limited.
func (o *Observer) link(f *flight, r *versioning.Record, attributes ...attribute.KeyValue) {
	isContext := func(h versioning.Header) bool { return slices.Contains(o.fields, h.Key) }
	if f.links >= o.cfg.MaxLinks || !slices.ContainsFunc(r.Headers, isContext) {
		return
	}
	ctx := o.cfg.Propagator.Extract(context.Background(), carrier(r.Headers))
	if producer := trace.SpanContextFromContext(ctx); producer.IsValid() && producer.IsSampled() {
		f.span.AddLink(trace.Link{SpanContext: producer, Attributes: attributes})
		f.links++
	}
}

// A carrier lets a propagator read the headers of a record.
type carrier []versioning.Header

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string {
	for i := range c {
		if c[i].Key == key {
			return string(c[i].Value)
		}
	}
	return ""
}

// Set implements propagation.TextMapCarrier. A record that was read is never changed.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for i := range c {
		if !slices.Contains(keys, c[i].Key) {
			keys = append(keys, c[i].Key)
		}
	}
	return keys
}
