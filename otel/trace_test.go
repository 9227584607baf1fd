package otel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/versioning"
)

// linked returns the last digits of the trace IDs that a span links to, and the attributes.
func linked(s sdktrace.ReadOnlySpan) (links []string) {
	for _, link := range s.Links() {
		id := link.SpanContext.TraceID().String()
		name := id[len(id)-2:]
		if a := text(link.Attributes); a != "" {
			name += " " + a
		}
		links = append(links, name)
	}
	return links
}

// TestSpanOfBatch checks the span of a batch: its name, its attributes and its links, also to the
// producer of a record that was parked.
func TestSpanOfBatch(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{Group: "g", MaxLinks: 3})
	rs := records("orders", "orders", "orders", "orders", "orders", "orders")
	rs[1].Headers = []versioning.Header{{Key: "x"}, traceparent(1, true)}
	rs[2].Headers = []versioning.Header{traceparent(2, false)} // not sampled
	rs[3].Headers = []versioning.Header{{Key: "traceparent", Value: []byte("damaged")}}
	rs[4].Headers = []versioning.Header{traceparent(3, true)}
	outcomes := make([]versioning.Outcome, len(rs))
	for i := range outcomes {
		outcomes[i] = outcome("order", "k", "e", versioning.Applied, "")
	}
	outcomes[5].Verdict = versioning.Duplicate
	parked := func(n int) versioning.Settled {
		return versioning.Settled{Record: &versioning.Record{Headers: []versioning.Header{traceparent(n, true)}}, Outcome: outcomes[0]}
	}
	ctx := l.BatchStart(context.Background(), consumer.BatchStart{Records: rs})
	if !trace.SpanFromContext(ctx).IsRecording() {
		t.Error("the context of the batch has no span")
	}
	l.Trouble(ctx, versioning.ErrContended, time.Second)
	l.BatchEnd(ctx, consumer.Batch{Records: rs, Outcomes: outcomes, Released: []versioning.Settled{parked(4), parked(5)}})

	ended := l.spans.Ended()
	if len(ended) != 1 {
		t.Fatalf("%d spans", len(ended))
	}
	s := ended[0]
	if s.Name() != "process orders" || s.SpanKind() != trace.SpanKindConsumer || s.Status().Code != codes.Unset {
		t.Errorf("the span is %q of kind %v, status %v", s.Name(), s.SpanKind(), s.Status())
	}
	const want = "applied=7 decode.duration=0 duplicate=1 messaging.batch.message_count=6 messaging.consumer.group.name=g messaging.destination.name=orders messaging.operation.name=process"
	if got := text(s.Attributes()); got != want {
		t.Errorf("attributes:\n%s\nwant\n%s", got, want)
	}
	if diff := cmp.Diff([]string{"01", "03", "04 parked=true"}, linked(s)); diff != "" {
		t.Errorf("links (-want, +got):\n%s", diff)
	}
	if events := s.Events(); len(events) != 1 || events[0].Name != "retry" || text(events[0].Attributes) != "error.type=contended retry_in=1" {
		t.Errorf("events: %+v", events)
	}
}

// The span of a batch that was given up says so. Records of several topics have no destination.
func TestSpanOfBatchThatWasGivenUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{MaxLinks: -1})
	rs := records("orders", "returns")
	rs[0].Headers = []versioning.Header{traceparent(1, true)}
	batch(l.Observer, consumer.Batch{Records: rs, Outcomes: make([]versioning.Outcome, 2)})
	s := l.spans.Ended()[0]
	if s.Name() != "process" || s.Status().Code != codes.Error || len(s.Links()) != 0 {
		t.Errorf("the span is %q, status %v, %d links", s.Name(), s.Status(), len(s.Links()))
	}
}

// Without a span that is sampled, nothing is read from the headers.
func TestUnsampledBatch(t *testing.T) {
	t.Parallel()
	read := &reads{}
	l := newLab(t, otel.Config{Propagator: read, TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))})
	rs := records("orders")
	rs[0].Headers = []versioning.Header{traceparent(1, true)}
	batch(l.Observer, consumer.Batch{Records: rs, Outcomes: make([]versioning.Outcome, 1)})
	if read.n != 0 {
		t.Errorf("the headers of %d records were read", read.n)
	}
}

// Sweeps, timers and redrives have spans that link to the producers of what they have settled.
func TestSpansBesideBatches(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{})
	settled := []versioning.Settled{
		{Record: &versioning.Record{Headers: []versioning.Header{traceparent(1, true)}}, Outcome: outcome("order", "k", "e", versioning.Applied, "")},
		{Record: versioning.TimerRecord(versioning.Entity{}, versioning.Timer{}), Outcome: outcome("order", "k", "e", versioning.Applied, "")},
	}
	l.Maintained(context.Background(), consumer.Maintenance{Task: consumer.Sweeping, Settled: settled, Took: time.Second})
	l.Maintained(context.Background(), consumer.Maintenance{Task: consumer.Redriving, Settled: settled, Err: versioning.ErrContended})
	ended := l.spans.Ended()
	if len(ended) != 2 || ended[0].Name() != "sweep" || ended[1].Name() != "redrive" {
		t.Fatalf("spans: %v", ended)
	}
	if took := ended[0].EndTime().Sub(ended[0].StartTime()); took != time.Second {
		t.Errorf("the span of the sweep takes %v", took)
	}
	if got := append(linked(ended[0]), linked(ended[1])...); !slices.Equal(got, []string{"01 parked=true", "01 parked=false"}) {
		t.Errorf("links: %q", got)
	}
	if ended[0].Status().Code != codes.Unset || ended[1].Status().Code != codes.Error {
		t.Errorf("status: %v, %v", ended[0].Status(), ended[1].Status())
	}
}

// A commit has a span with links to the batches that it covers. One that fails leaves them to the
// next, and one during which a batch has ended leaves that one.
func TestSpanOfCommit(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{Group: "g", MaxLinks: 2})
	rs := records("orders")
	apply := func(n int) {
		for range n {
			batch(l.Observer, consumer.Batch{Records: rs, Outcomes: []versioning.Outcome{outcome("order", "k", "e", versioning.Applied, "")}})
		}
	}
	apply(3)
	l.Commit(t.Context(), consumer.Commit{Partitions: 4})
	l.Commit(t.Context(), consumer.Commit{Partitions: 4, OK: true})
	l.Commit(t.Context(), consumer.Commit{Partitions: 1, OK: true})
	apply(1)
	l.Commit(t.Context(), consumer.Commit{Partitions: 1, OK: true, Took: time.Hour}) // the batch has ended meanwhile
	l.Commit(t.Context(), consumer.Commit{Partitions: 1, OK: true})
	ended := l.spans.Ended()
	if len(ended) != 9 {
		t.Fatalf("%d spans", len(ended))
	}
	const attributes = "messaging.consumer.group.name=g messaging.operation.name=commit partitions="
	for i, want := range []struct {
		span       int
		attributes string
		links      []int // the spans of the batches
		status     codes.Code
	}{
		{3, "error.type=_OTHER " + attributes + "4", []int{0, 1}, codes.Error},
		{4, attributes + "4", []int{0, 1}, codes.Unset},
		{5, attributes + "1", nil, codes.Unset},
		{7, attributes + "1", []int{6}, codes.Unset},
		{8, attributes + "1", []int{6}, codes.Unset},
	} {
		s := ended[want.span]
		if s.Name() != "commit" || s.SpanKind() != trace.SpanKindClient || s.Status().Code != want.status || s.Parent().IsValid() {
			t.Errorf("commit %d: the span is %q of kind %v, status %v", i, s.Name(), s.SpanKind(), s.Status())
		}
		if got := text(s.Attributes()); got != want.attributes {
			t.Errorf("commit %d: attributes\n%s\nwant\n%s", i, got, want.attributes)
		}
		var links, wanted []trace.SpanID
		for _, link := range s.Links() {
			links = append(links, link.SpanContext.SpanID())
		}
		for _, of := range want.links {
			wanted = append(wanted, ended[of].SpanContext().SpanID())
		}
		if !slices.Equal(links, wanted) {
			t.Errorf("commit %d: links %v, want %v", i, links, wanted)
		}
	}
	if took := ended[7].EndTime().Sub(ended[7].StartTime()); took != time.Hour {
		t.Errorf("the span takes %v", took)
	}
}

// Without a span that is sampled, nothing is kept for the commit.
func TestCommitOfUnsampledBatches(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	l := newLab(t, otel.Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(onlyCommits{}))})
	batch(l.Observer, consumer.Batch{Records: records("orders"), Outcomes: make([]versioning.Outcome, 1)})
	l.Commit(t.Context(), consumer.Commit{Partitions: 1, OK: true})
	if ended := spans.Ended(); len(ended) != 1 || ended[0].Name() != "commit" || len(ended[0].Links()) != 0 {
		t.Errorf("spans: %v", ended)
	}
}

// onlyCommits samples the spans of commits.
type onlyCommits struct{}

func (onlyCommits) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Name == "commit" {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (onlyCommits) Description() string { return "only commits" }
