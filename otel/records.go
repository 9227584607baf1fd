package otel

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// What settled a record, besides the tasks of package consumer.
const (
	inBatch   = "batch"   // a batch had the record
	inRelease = "release" // the record was parked, and a batch has moved its entity
)

// An outcomeKey is what the counter of records tells apart.
type outcomeKey struct {
	by      string // what settled the record
	machine string
	event   string // empty unless events are told apart
	reason  versioning.Reason
	verdict versioning.Verdict
}

// A records counts records by their outcomes. It is safe for concurrent use.
type records struct {
	counter metric.Int64Counter
	base    []attribute.KeyValue
	events  bool // events are told apart

	machines, eventNames, reasons *names

	mu     sync.Mutex
	series map[outcomeKey]metric.MeasurementOption // at most maxSeries
}

// A tally counts the outcomes of one batch. Most batches have only a few different ones, and the
// next outcome is usually like the last one.
type tally struct {
	events bool
	keys   []outcomeKey
	counts []int64
	last   int
}

func (t *tally) add(by string, o *versioning.Outcome) {
	key := outcomeKey{by: by, machine: o.Entity.Machine, reason: o.Reason, verdict: o.Verdict}
	if t.events {
		key.event = string(o.Event)
	}
	switch o.Reason { //nolint:exhaustive // the names of the others are known to a machine
	case versioning.ReasonUnknownMachine:
		key.machine, key.event = other, ""
	case versioning.ReasonUnknownEvent, versioning.ReasonBehindUnknown, versioning.ReasonNewerDefinition, versioning.ReasonTooManyParked:
		if t.events {
			key.event = other
		}
	}
	if len(t.keys) > 0 && t.keys[t.last] == key {
		t.counts[t.last]++
		return
	}
	for i := range t.keys {
		if t.keys[i] == key {
			t.last = i
			t.counts[i]++
			return
		}
	}
	t.last = len(t.keys)
	t.keys, t.counts = append(t.keys, key), append(t.counts, 1)
}

// record adds a tally to the counter.
func (r *records) record(ctx context.Context, t *tally) {
	for i := range t.keys {
		r.counter.Add(ctx, t.counts[i], r.seriesOf(t.keys[i]))
	}
}

// expired counts parked records that became dead letters because of their age. The sweep does
// not say of which machine they are.
func (r *records) expired(ctx context.Context, n int) {
	if n > 0 {
		key := outcomeKey{by: string(consumer.Sweeping), machine: other, reason: versioning.ReasonParkedTooLong, verdict: versioning.Rejected}
		r.counter.Add(ctx, int64(n), r.seriesOf(key))
	}
}

// seriesOf returns the series of a key.
func (r *records) seriesOf(key outcomeKey) metric.MeasurementOption {
	key = r.bound(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.series[key]; ok {
		return known
	}
	if n := len(r.series); n >= spareSeries {
		key.machine, key.by = other, other
		if key.event != "" {
			key.event = other
		}
		if n >= maxSeries-lastSeries {
			key.event, key.reason = "", other
		}
		if known, ok := r.series[key]; ok {
			return known
		}
	}
	made := metric.WithAttributeSet(attribute.NewSet(append([]attribute.KeyValue{
		taskKey.String(key.by), machineKey.String(key.machine), verdictKey.String(key.verdict.String()), reasonKey.String(string(key.reason)),
	}, r.rest(key)...)...))
	r.series[key] = made
	return made
}

func (r *records) rest(key outcomeKey) []attribute.KeyValue {
	if !r.events {
		return r.base
	}
	return append([]attribute.KeyValue{eventKey.String(key.event)}, r.base...)
}

// bound replaces the names that are too many.
func (r *records) bound(key outcomeKey) outcomeKey {
	if key.machine != "" && key.machine != other {
		key.machine = r.machines.bound(key.machine)
	}
	key.reason = versioning.Reason(r.reasons.bound(string(key.reason)))
	if r.events && key.event != other && key.event != "" {
		key.event = r.eventNames.bound(key.event)
	}
	return key
}
