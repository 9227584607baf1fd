package otel_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/versioning"
)

// BenchmarkBatch measures what an observer costs for a batch. A batch of 10,000 records takes a
// worker about 80 ms.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		for name, sampler := range map[string]sdktrace.Sampler{"sampled": sdktrace.AlwaysSample(), "not sampled": sdktrace.NeverSample()} {
			b.Run(fmt.Sprintf("%d %s", n, name), func(b *testing.B) {
				provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))
				l := newLab(b, otel.Config{Group: "g", TracerProvider: provider})
				rs := records(make([]string, n)...)
				outcomes := make([]versioning.Outcome, n)
				for i := range outcomes {
					rs[i].Headers = []versioning.Header{{Key: "ce_id"}, {Key: "ce_source"}}
					if i%100 == 0 {
						rs[i].Headers = append(rs[i].Headers, traceparent(i+1, true))
					}
					outcomes[i] = outcome("order", "k", "e", versioning.Applied, "")
					if i%7 == 0 {
						outcomes[i].Verdict = versioning.Duplicate
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					ctx := l.BatchStart(context.Background(), consumer.BatchStart{Records: rs, Decode: time.Millisecond})
					l.BatchEnd(ctx, consumer.Batch{Records: rs, Outcomes: outcomes, Decode: time.Millisecond, Apply: time.Millisecond})
				}
			})
		}
	}
}
