package otel

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawl-go/pawl/consumer"
)

// uncommitted has the spans of the batches that a commit may cover. It is safe for concurrent use.
type uncommitted struct {
	mu    sync.Mutex
	spans []endedSpan // those that are sampled: the first ones, up to Config.MaxLinks
}

type endedSpan struct {
	trace.SpanContext

	at time.Time // when the batch ended
}

func (u *uncommitted) add(span trace.SpanContext, at time.Time, most int) {
	if !span.IsSampled() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.spans) < most {
		u.spans = append(u.spans, endedSpan{span, at})
	}
}

// links returns links to the batches. If the commit has succeeded, it forgets those that had ended
// before it began: the others may be covered by the next commit.
func (u *uncommitted) links(began time.Time, ok bool) []trace.Link {
	u.mu.Lock()
	defer u.mu.Unlock()
	links := make([]trace.Link, len(u.spans))
	for i, s := range u.spans {
		links[i].SpanContext = s.SpanContext
	}
	if ok {
		u.spans = slices.DeleteFunc(u.spans, func(s endedSpan) bool { return s.at.Before(began) })
	}
	return links
}

// traceCommit makes a span for a commit that has just ended. It can't be a child of the batches'
// spans, because it covers several, so it has links to them.
func (o *Observer) traceCommit(ctx context.Context, c consumer.Commit) {
	now := time.Now()
	began := now.Add(-c.Took)
	_, span := o.tracer.Start(ctx, "commit", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(o.uncommitted.links(began, c.OK)...))
	if span.IsRecording() {
		span.SetAttributes(o.base...)
		span.SetAttributes(semconv.MessagingSystemKafka, semconv.MessagingOperationName("commit"), semconv.MessagingOperationTypeSettle,
			attribute.Int("pawl.partitions", c.Partitions))
	}
	if !c.OK {
		span.SetAttributes(semconv.ErrorTypeKey.String(otherError))
		span.SetStatus(codes.Error, "the next commit covers the rest; the worker has logged why")
	}
	span.End(trace.WithTimestamp(now))
}
