package otel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// records returns records of topics.
func records(topics ...string) []*versioning.Record {
	all := make([]*versioning.Record, len(topics))
	for i, topic := range topics {
		all[i] = &versioning.Record{Origin: versioning.Origin{Topic: topic, Offset: int64(i)}, Timestamp: time.Now().Add(-time.Minute)}
	}
	return all
}

// batch makes the calls of a batch.
func batch(o *otel.Observer, b consumer.Batch) {
	ctx := o.BatchStart(context.Background(), consumer.BatchStart{Records: b.Records, Decode: b.Decode})
	o.BatchEnd(ctx, b)
}

// A sqlError has a SQLSTATE.
type sqlError string

func (sqlError) Error() string      { return "an error that quotes a secret" }
func (e sqlError) SQLState() string { return string(e) }

// TestMetrics checks what the hooks count, and with which attributes.
func TestMetrics(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{Group: "g", Attributes: []attribute.KeyValue{attribute.String("pawl.worker", "w")}})
	batch(l.Observer, consumer.Batch{
		Records: records("orders", "orders", "orders", "returns"),
		Outcomes: []versioning.Outcome{
			outcome("order", "1", "placed", versioning.Applied, ""),
			outcome("order", "2", "placed", versioning.Applied, ""),
			outcome("order", "2", "placed", versioning.Rejected, versioning.ReasonIllegal),
			{},
		},
		Released: []versioning.Settled{{Record: &versioning.Record{}, Outcome: outcome("order", "1", "paid", versioning.Applied, "")}},
		Decode:   time.Millisecond, Apply: time.Second,
	})
	for _, err := range []error{
		versioning.ErrContended, fmt.Errorf("apply: %w", sqlError("40P01")), context.DeadlineExceeded, context.Canceled,
		errors.New("no route to host"), &versioning.Error{Cause: versioning.Data, Err: errors.New("x")},
	} {
		l.Trouble(context.Background(), err, time.Second)
	}
	l.Commit(context.Background(), consumer.Commit{Partitions: 2, Took: time.Millisecond, OK: true})
	l.Commit(context.Background(), consumer.Commit{Partitions: 2, Took: time.Millisecond})
	l.Maintained(context.Background(), consumer.Maintenance{
		Task: consumer.Sweeping, Settled: []versioning.Settled{{Outcome: outcome("order", "1", "paid", versioning.Applied, "")}}, Expired: 3,
	})
	l.Maintained(context.Background(), consumer.Maintenance{Task: consumer.Firing, Err: sqlError("53100")})

	const base = "messaging.consumer.group.name=g"
	with := func(before, after string) string {
		return strings.TrimSpace(before + " " + base + " " + after)
	}
	want := map[string]map[string]float64{
		"messaging.client.consumed.messages": {
			"messaging.consumer.group.name=g messaging.destination.name=orders messaging.operation.name=poll worker=w":  3,
			"messaging.consumer.group.name=g messaging.destination.name=returns messaging.operation.name=poll worker=w": 1,
		},
		"pawl.records": {
			with("machine=order", "reason= task=batch verdict=applied worker=w"):                 2,
			with("machine=order", "reason=illegal task=batch verdict=rejected worker=w"):         1,
			with("machine=order", "reason= task=release verdict=applied worker=w"):               1,
			with("machine=order", "reason= task=sweep verdict=applied worker=w"):                 1,
			with("machine=other", "reason=parked_too_long task=sweep verdict=rejected worker=w"): 3,
		},
		"pawl.retries": {
			with("error.type=contended", "worker=w"): 1, with("error.type=40P01", "worker=w"): 1, with("error.type=timeout", "worker=w"): 1,
			with("error.type=canceled", "worker=w"): 1, with("error.type=infrastructure", "worker=w"): 1, with("error.type=data", "worker=w"): 1,
		},
		"messaging.client.operation.duration": {
			with("", "messaging.operation.name=commit worker=w"): 1, with("error.type=_OTHER", "messaging.operation.name=commit worker=w"): 1,
		},
		"messaging.process.duration": {with("error.type=given_up", "messaging.operation.name=process worker=w"): 1},
		"pawl.maintenance.duration":  {with("", "task=sweep worker=w"): 1, with("error.type=53100", "task=fire worker=w"): 1},
		"pawl.decode.duration":       {with("", "worker=w"): 1},
		"pawl.record.age":            {with("", "worker=w"): 1},
		"pawl.batch.size":            {with("", "worker=w"): 1},
	}
	if diff := cmp.Diff(want, l.collect(t)); diff != "" {
		t.Errorf("metrics (-want, +got):\n%s", diff)
	}
}

// Events are told apart if the configuration says so.
func TestMetricsOfEvents(t *testing.T) {
	t.Parallel()
	l := newLab(t, otel.Config{Events: true})
	batch(l.Observer, consumer.Batch{Records: records("orders", "orders"), Outcomes: []versioning.Outcome{
		outcome("order", "1", "placed", versioning.Applied, ""), outcome("order", "1", "made up", versioning.Rejected, versioning.ReasonUnknownEvent),
	}})
	want := map[string]float64{
		"event=placed machine=order reason= task=batch verdict=applied":              1,
		"event=other machine=order reason=unknown_event task=batch verdict=rejected": 1,
	}
	if diff := cmp.Diff(want, l.collect(t)["pawl.records"]); diff != "" {
		t.Errorf("records (-want, +got):\n%s", diff)
	}
}

// TestSeriesAreBounded observes 10,000 entities of 50 machines with all verdicts and reasons, and
// records that name a new machine, event, reason and topic each.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		l := newLab(t, otel.Config{Group: "g", Events: events})
		reasons := []versioning.Reason{
			versioning.ReasonNoEntity, versioning.ReasonNotYet, versioning.ReasonIllegal, versioning.ReasonRefused, versioning.ReasonNoBranch,
			versioning.ReasonInvalidData, versioning.ReasonConstraint, versioning.ReasonVersionTaken, versioning.ReasonTooLarge,
		}
		total := 0
		for entity := range 10_000 {
			machine, key := fmt.Sprint("machine", entity%50), fmt.Sprint("entity", entity)
			var outcomes []versioning.Outcome
			for v := versioning.Ignored; v <= versioning.Diverged; v++ {
				event := statemachine.Event(fmt.Sprint("event", entity%7))
				outcomes = append(outcomes, outcome(machine, key, event, v, ""), outcome(machine, key, event, v, reasons[entity/50%len(reasons)]))
			}
			outcomes = append(outcomes,
				outcome(key, key, "", versioning.Rejected, versioning.ReasonUnknownMachine),
				outcome(machine, key, statemachine.Event(key), versioning.Rejected, versioning.ReasonUnknownEvent),
				outcome(machine, key, "e", versioning.Rejected, versioning.Reason(key)))
			total += len(outcomes)
			rs := records(make([]string, len(outcomes))...)
			rs[0].Origin.Topic = key
			batch(l.Observer, consumer.Batch{Records: rs, Outcomes: outcomes})
			l.Trouble(context.Background(), sqlError(key), 0)
		}
		all := l.collect(t)
		for name, series := range all {
			if len(series) > 1000 {
				t.Errorf("events %t: metric %s has %d series", events, name, len(series))
			}
			for s := range series {
				if strings.Contains(s, "entity9999") {
					t.Errorf("events %t: metric %s has the series %s", events, name, s)
				}
			}
		}
		sum := 0.0
		machines := make(map[string]bool)
		for s, n := range all["pawl.records"] {
			sum += n
			_, rest, _ := strings.Cut(s, "machine=")
			machine, _, _ := strings.Cut(rest, " ")
			machines[machine] = true
		}
		if sum != float64(total) {
			t.Errorf("events %t: %v records are counted, not %d", events, sum, total)
		}
		if !events && len(machines) != 51 { // and "other"
			t.Errorf("%d machines are told apart, want 50 and other", len(machines))
		}
	}
}

// New reports everything that is wrong with a configuration.
func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := otel.New(otel.Config{MaxNames: -1, CountEvery: -1})
	if !errors.Is(err, otel.ErrConfig) || !strings.Contains(err.Error(), "MaxNames") || !strings.Contains(err.Error(), "CountEvery") {
		t.Errorf("New = %v", err)
	}
}
