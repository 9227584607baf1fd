package otel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/relay"
)

// An instrumentMaker creates observable instruments and keeps the errors.
type instrumentMaker struct {
	meter metric.Meter
	errs  []error
	all   []metric.Observable
}

func (m *instrumentMaker) gauge(name, unit, text string) metric.Int64Observable {
	g, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
	m.errs, m.all = append(m.errs, err), append(m.all, g)
	return g
}

func (m *instrumentMaker) seconds(name, text string) metric.Float64Observable {
	g, err := m.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(text))
	m.errs, m.all = append(m.errs, err), append(m.all, g)
	return g
}

func (m *instrumentMaker) counter(name, unit, text string) metric.Int64Observable {
	c, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(text))
	m.errs, m.all = append(m.errs, err), append(m.all, c)
	return c
}

// register calls observe whenever the metrics are collected.
func (m *instrumentMaker) register(o *Observer, observe func(metric.Observer)) error {
	if err := errors.Join(m.errs...); err != nil {
		return err
	}
	return o.register(func(_ context.Context, to metric.Observer) error { observe(to); return nil }, m.all...)
}

// Watch makes the gauges of a worker: its state, its lag, its partitions and its timers, and those
// of its relay. Reading them asks neither the broker nor the database. Call it once, for the worker
// that has the observer as a hook.
func (o *Observer) Watch(w *consumer.Worker) error { return o.watch(w.Health) }

func (o *Observer) watch(health func() consumer.Health) error {
	m := &instrumentMaker{meter: o.meter}
	state := m.gauge("pawl.worker.state", "{state}", "1 for the state of the worker, 0 for the others. The reason says why it is not consuming.")
	lag := m.gauge("pawl.lag", "{offset}", "Offsets of the worker's partitions that are not settled.")
	lagAge := m.seconds("pawl.lag.age", "Age of the oldest record that was read and is not settled; without one, how long records wait to be read.")
	stalled := m.seconds("pawl.stalled", "How long nothing was settled although there is lag.")
	partitions := m.gauge("pawl.partitions", "{partition}", "Partitions that the worker owns.")
	timers := m.gauge("pawl.timers", "{timer}", "Armed timers of all workers.")
	overdue := m.seconds("pawl.timers.overdue.age", "How long the first of the overdue timers has been due.")
	owned := relayInstruments(m)
	states := []consumer.HealthState{consumer.Starting, consumer.Consuming, consumer.Troubled, consumer.Stopped}
	base := o.series.base
	return m.register(o, func(to metric.Observer) {
		h, now := health(), time.Now()
		for _, s := range states {
			o.observeState(to, state, string(s), h.State == s, h.Reason)
		}
		to.ObserveInt64(lag, h.Lag, base)
		to.ObserveFloat64(lagAge, o.lagAge(h, now).Seconds(), base)
		to.ObserveFloat64(stalled, stalledFor(h, now).Seconds(), base)
		to.ObserveInt64(partitions, int64(h.Partitions), base)
		to.ObserveInt64(timers, h.Timers.Pending, o.with(stateKey.String("pending")))
		to.ObserveInt64(timers, h.Timers.Overdue, o.with(stateKey.String("overdue")))
		to.ObserveFloat64(overdue, since(h.Timers.Oldest, now).Seconds(), base)
		if h.Relay.State != "" {
			owned.observe(o, to, h.Relay, now)
		}
	})
}

// observeState sets one state of several. The reason is one of a fixed set of texts.
func (o *Observer) observeState(to metric.Observer, gauge metric.Int64Observable, state string, is bool, reason string) {
	attributes := []attribute.KeyValue{stateKey.String(state)}
	if !is {
		to.ObserveInt64(gauge, 0, o.with(attributes...))
		return
	}
	if reason != "" {
		attributes = append(attributes, reasonKey.String(o.errors.bound(reason)))
	}
	to.ObserveInt64(gauge, 1, o.with(attributes...))
}

// lagAge returns the age of the oldest record of the current batch. Without a batch, it returns how
// long there have been records that nobody has read.
func (o *Observer) lagAge(h consumer.Health, now time.Time) time.Duration {
	if oldest := o.oldest.Load(); oldest != 0 {
		return max(0, now.Sub(time.Unix(0, oldest)))
	}
	if h.Behind.IsZero() {
		return 0
	}
	waiting := h.Behind
	if ended := time.Unix(0, o.settled.Load()); ended.After(waiting) {
		waiting = ended
	}
	return since(waiting, now)
}

// stalledFor returns how long nothing was settled although there were records.
func stalledFor(h consumer.Health, now time.Time) time.Duration {
	from := h.Behind
	if !from.IsZero() && h.LastProgress.After(from) {
		from = h.LastProgress
	}
	return since(from, now)
}

// since returns how long ago a time was; 0 for the zero time and for those to come.
func since(t, now time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

// WatchRelay makes the gauges and counters of a relay that runs without a worker, or beside
// one with NoRelay. The relay of a worker is part of [Observer.Watch].
func (o *Observer) WatchRelay(r *relay.Relay) error {
	m := &instrumentMaker{meter: o.meter}
	in := relayInstruments(m)
	return m.register(o, func(to metric.Observer) { in.observe(o, to, r.Health(), time.Now()) })
}

// relayMetrics are the instruments of a relay.
type relayMetrics struct {
	state, lanes, inFlight, published, refused metric.Int64Observable

	age metric.Float64Observable
}

func relayInstruments(m *instrumentMaker) relayMetrics {
	sent := messagingconv.ClientSentMessages{}
	return relayMetrics{
		state:     m.gauge("pawl.relay.state", "{state}", "1 for the state of the relay, 0 for the others."),
		lanes:     m.gauge("pawl.relay.lanes", "{lane}", "Lanes of the outbox that the relay holds."),
		inFlight:  m.gauge("pawl.relay.in_flight", "{message}", "Messages that were sent and are not acknowledged."),
		published: m.counter(sent.Name(), sent.Unit(), "Messages of transitions that a broker has acknowledged."),
		refused:   m.counter("pawl.relay.refused", "{message}", "Messages that became unsent messages."),
		age:       m.seconds("pawl.relay.in_flight.age", "How long ago the oldest message in flight was sent."),
	}
}

func (in relayMetrics) observe(o *Observer, to metric.Observer, h relay.Health, now time.Time) {
	for _, s := range []relay.HealthState{relay.Starting, relay.Publishing, relay.Troubled, relay.Stopped} {
		o.observeState(to, in.state, string(s), h.State == s, h.Reason)
	}
	base := o.series.base
	to.ObserveInt64(in.lanes, int64(h.Lanes), base)
	to.ObserveInt64(in.inFlight, int64(h.InFlight), base)
	to.ObserveInt64(in.published, h.Published, o.with(semconv.MessagingSystemKafka, semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend))
	to.ObserveInt64(in.refused, h.Refused, base)
	to.ObserveFloat64(in.age, since(h.Oldest, now).Seconds(), base)
}
