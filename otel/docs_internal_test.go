package otel

import (
	"context"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// TestDocumentedMetrics checks that docs/metrics.md lists each metric, and no other.
func TestDocumentedMetrics(t *testing.T) {
	t.Parallel()
	reader := sdk.NewManualReader()
	cfg := Config{Store: &stock{}, MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))}
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := o.BatchStart(context.Background(), consumer.BatchStart{Records: []*versioning.Record{{Timestamp: time.Now()}}})
	o.BatchEnd(ctx, consumer.Batch{Outcomes: []versioning.Outcome{{Verdict: versioning.Applied}}})
	o.Trouble(ctx, context.Canceled, 0)
	o.Commit(ctx, consumer.Commit{})
	o.Maintained(ctx, consumer.Maintenance{})
	o.counts.set(versioning.StoredCounts{Machines: []versioning.MachineCounts{{Machine: "order"}}})
	if err := o.watch(func() consumer.Health { return consumer.Health{Relay: relay.Health{State: relay.Publishing}} }); err != nil {
		t.Fatal(err)
	}
	b, err := Backend(cfg, "memory", gatewaytest.NewMemory(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Begin(ctx, gateway.Key{Tenant: "t"}); err != nil {
		t.Fatal(err)
	}

	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	var made, listed []string
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			made = append(made, m.Name)
		}
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:pawl|messaging)\\.[a-z_.]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(made)
	slices.Sort(listed)
	if diff := cmp.Diff(made, listed); diff != "" {
		t.Errorf("docs/metrics.md (-made, +listed):\n%s", diff)
	}
}
