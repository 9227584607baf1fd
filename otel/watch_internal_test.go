package otel

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// gauges returns the values of the observable metrics, by name, state, reason and machine.
func gauges(t *testing.T, reader *sdk.ManualReader) map[string]float64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Gauge[int64]:
				add(values, m.Name, d.DataPoints)
			case metricdata.Gauge[float64]:
				add(values, m.Name, d.DataPoints)
			case metricdata.Sum[int64]:
				add(values, m.Name, d.DataPoints)
			}
		}
	}
	return values
}

func add[N int64 | float64](to map[string]float64, name string, points []metricdata.DataPoint[N]) {
	for _, p := range points {
		at := name
		for _, key := range []string{"pawl.state", "pawl.reason", "pawl.machine"} {
			if v, ok := p.Attributes.Value(attribute.Key(key)); ok && v.AsString() != "" {
				at += " " + v.AsString()
			}
		}
		to[at] = float64(p.Value)
	}
}

func observe(t *testing.T, cfg Config) (*Observer, *sdk.ManualReader) {
	t.Helper()
	reader := sdk.NewManualReader()
	cfg.MeterProvider = sdk.NewMeterProvider(sdk.WithReader(reader))
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o, reader
}

// TestGauges checks what Watch makes of a worker's health.
func TestGauges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, reader := observe(t, Config{})
		now := time.Now()
		h := consumer.Health{
			State: consumer.Troubled, Reason: "database in trouble; retrying", Lag: 7, Partitions: 3,
			Behind: now.Add(-time.Minute), LastProgress: now.Add(-40 * time.Second),
			Timers: versioning.TimerCounts{Pending: 5, Overdue: 2, Oldest: now.Add(-time.Hour)},
			Relay:  relay.Health{State: relay.Publishing, Lanes: 16, InFlight: 4, Oldest: now.Add(-2 * time.Second), Published: 9, Refused: 1},
		}
		if err := o.watch(func() consumer.Health { return h }); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{
			"pawl.worker.state starting": 0, "pawl.worker.state consuming": 0, "pawl.worker.state stopped": 0,
			"pawl.worker.state troubled database in trouble; retrying": 1,
			"pawl.lag": 7, "pawl.lag.age": 60, "pawl.stalled": 40, "pawl.partitions": 3,
			"pawl.timers pending": 5, "pawl.timers overdue": 2, "pawl.timers.overdue.age": 3600,
			"pawl.relay.state starting": 0, "pawl.relay.state publishing": 1, "pawl.relay.state troubled": 0, "pawl.relay.state stopped": 0,
			"pawl.relay.lanes": 16, "pawl.relay.in_flight": 4, "pawl.relay.in_flight.age": 2, "messaging.client.sent.messages": 9, "pawl.relay.refused": 1,
		}
		if diff := cmp.Diff(want, gauges(t, reader)); diff != "" {
			t.Errorf("gauges (-want, +got):\n%s", diff)
		}
		h = consumer.Health{State: consumer.Consuming, LastProgress: now}
		want = map[string]float64{
			"pawl.worker.state starting": 0, "pawl.worker.state consuming": 1, "pawl.worker.state stopped": 0, "pawl.worker.state troubled": 0,
			"pawl.lag": 0, "pawl.lag.age": 0, "pawl.stalled": 0, "pawl.partitions": 0,
			"pawl.timers pending": 0, "pawl.timers overdue": 0, "pawl.timers.overdue.age": 0,
		}
		if diff := cmp.Diff(want, gauges(t, reader)); diff != "" {
			t.Errorf("gauges of an idle worker (-want, +got):\n%s", diff)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if got := gauges(t, reader); len(got) != 0 {
			t.Errorf("gauges after Close: %v", got)
		}
	})
}

// The age of the lag is that of the oldest record of the current batch. Between batches it is how
// long nobody has read what is there.
func TestLagAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, reader := observe(t, Config{})
		h := consumer.Health{Behind: time.Now()}
		if err := o.watch(func() consumer.Health { return h }); err != nil {
			t.Fatal(err)
		}
		check := func(when string, want float64) {
			t.Helper()
			if got := gauges(t, reader)["pawl.lag.age"]; got != want {
				t.Errorf("%s, the lag is %v s old, want %v", when, got, want)
			}
		}
		<-time.After(5 * time.Second)
		check("before the first batch", 5)
		rs := []*versioning.Record{{Timestamp: time.Now()}, {Timestamp: time.Now().Add(-time.Minute)}, {}}
		ctx := o.BatchStart(t.Context(), consumer.BatchStart{Records: rs})
		<-time.After(10 * time.Second)
		check("in a batch", 70)
		o.BatchEnd(ctx, consumer.Batch{Records: rs, Outcomes: make([]versioning.Outcome, 3)})
		<-time.After(2 * time.Second)
		check("after the batch", 2)
		h.Behind = time.Time{}
		check("without lag", 0)
		ctx = o.BatchStart(t.Context(), consumer.BatchStart{Records: []*versioning.Record{{Timestamp: time.Now().Add(time.Hour)}}})
		check("in a batch of the future", 0)
		o.BatchEnd(ctx, consumer.Batch{})
	})
}

// A stock is a store that counts.
type stock struct {
	counts versioning.StoredCounts
	down   atomic.Bool
	calls  atomic.Int64
}

func (s *stock) CountStored(context.Context) (versioning.StoredCounts, error) {
	s.calls.Add(1)
	if s.down.Load() {
		return versioning.StoredCounts{}, errors.New("no connection")
	}
	return s.counts, nil
}

func (s *stock) Contended() int64 { return 6 }

// TestCounts checks that Run counts at intervals and not when metrics are read, and that old counts
// are not shown.
func TestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stock{counts: versioning.StoredCounts{
			Machines: []versioning.MachineCounts{{Machine: "order", Parked: 3, ParkedAge: time.Minute, DeadLetters: 2}, {DeadLetters: 1}},
			Outbox:   versioning.OutboxDepth{Messages: 8, Age: time.Second, Unsent: 4},
		}}
		o, reader := observe(t, Config{Store: s, Logger: slog.New(slog.DiscardHandler)})
		if got := gauges(t, reader); len(got) != 1 || got["pawl.contended"] != 6 {
			t.Errorf("metrics before the first count: %v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { o.Run(ctx); close(ended) }()
		<-time.After(31 * time.Second)
		want := map[string]float64{
			"pawl.parked order": 3, "pawl.parked.age order": 60, "pawl.dead_letters order": 2, "pawl.dead_letters": 1,
			"pawl.outbox.messages": 8, "pawl.outbox.age": 1, "pawl.outbox.unsent": 4, "pawl.contended": 6,
		}
		for range 3 {
			if diff := cmp.Diff(want, gauges(t, reader)); diff != "" {
				t.Errorf("metrics (-want, +got):\n%s", diff)
			}
		}
		if n := s.calls.Load(); n != 3 {
			t.Errorf("%d counts in 31 seconds, want 3", n)
		}
		s.down.Store(true)
		<-time.After(time.Minute)
		if diff := cmp.Diff(want, gauges(t, reader)); diff != "" {
			t.Errorf("metrics a minute after the last count (-want, +got):\n%s", diff)
		}
		<-time.After(time.Minute)
		if got := gauges(t, reader); len(got) != 1 {
			t.Errorf("metrics two minutes after the last count: %v", got)
		}
		cancel()
		<-ended
	})
}

// Without a store, there is nothing to count.
func TestRunWithoutStore(t *testing.T) {
	t.Parallel()
	o, _ := observe(t, Config{})
	o.Run(t.Context())
}
