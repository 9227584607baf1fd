package otel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/pawl-go/pawl/gateway"
)

// Outcomes of a gateway's operations.
const (
	gatewayRun         = "run"         // the key was free, and the handler runs
	gatewayReplay      = "replay"      // there was a stored response
	gatewayInProgress  = "in_progress" // another request with the key is running
	gatewayUnavailable = "unavailable" // the backend can't work now
	gatewayStored      = "stored"
	gatewayTaken       = "taken"   // another run has stored its response first
	gatewayUnknown     = "unknown" // nobody knows yet whether the response was stored
	gatewayReleased    = "released"
	gatewayCanceled    = "canceled" // the client has gone
	gatewayError       = "error"
)

// Backend returns a gateway's backend that is measured: the histogram pawl.gateway.duration has
// the time of each operation, and its count is how many there were, by outcome. The name, such as
// "postgresql", becomes the attribute pawl.gateway.backend.
//
// To see how often Redis answers, wrap both a hybrid and its decider, with different names: the
// replays of the hybrid that the decider has not seen are those that came from Redis.
//
//	decider, err := otel.Backend(otel.Config{}, "postgresql", postgresBackend)
//	hybrid, err := redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider})
//	backend, err := otel.Backend(otel.Config{}, "hybrid", hybrid)
func Backend(cfg Config, name string, b gateway.Backend) (gateway.Backend, error) {
	cfg = cfg.withDefaults()
	duration, err := cfg.MeterProvider.Meter(scope).Float64Histogram("pawl.gateway.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of a gateway backend's operations."), metric.WithExplicitBucketBoundaries(secondBounds...))
	if err != nil {
		return nil, err
	}
	o := &Observer{cfg: cfg, base: append(baseOf(cfg), backendKey.String(name))}
	return &backend{Backend: b, o: o, duration: duration}, nil
}

// A backend measures another one.
type backend struct {
	gateway.Backend

	o        *Observer
	duration metric.Float64Histogram
}

// Begin implements gateway.Backend.
func (b *backend) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	began := time.Now()
	run, stored, err := b.Backend.Begin(ctx, key)
	outcome := gatewayReplay
	switch {
	case err != nil:
		outcome = failure(err)
	case run != nil:
		outcome = gatewayRun
		run = &measuredRun{Run: run, b: b}
	}
	b.record(ctx, began, "begin", outcome)
	return run, stored, err
}

func (b *backend) record(ctx context.Context, began time.Time, operation, outcome string) {
	b.duration.Record(ctx, time.Since(began).Seconds(), b.o.with(operationKey.String(operation), outcomeAttr.String(outcome)))
}

// failure returns the outcome of an operation that has failed.
func failure(err error) string {
	_, busy := errors.AsType[*gateway.InProgressError](err)
	_, unavailable := errors.AsType[*gateway.UnavailableError](err)
	switch {
	case busy:
		return gatewayInProgress
	case errors.Is(err, gateway.ErrTaken):
		return gatewayTaken
	case errors.Is(err, gateway.ErrFateUnknown):
		return gatewayUnknown
	case errors.Is(err, context.Canceled):
		return gatewayCanceled
	case unavailable:
		return gatewayUnavailable
	}
	return gatewayError
}

// A measuredRun measures how another run ends.
type measuredRun struct {
	gateway.Run

	b *backend
}

// Finish implements gateway.Run.
func (r *measuredRun) Finish(ctx context.Context, result gateway.Result) error {
	return r.end(ctx, "finish", gatewayStored, func() error { return r.Run.Finish(ctx, result) })
}

// Release implements gateway.Run.
func (r *measuredRun) Release(ctx context.Context) error {
	return r.end(ctx, "release", gatewayReleased, func() error { return r.Run.Release(ctx) })
}

func (r *measuredRun) end(ctx context.Context, operation, outcome string, end func() error) error {
	began := time.Now()
	err := end()
	if err != nil {
		outcome = failure(err)
	}
	r.b.record(ctx, began, operation, outcome)
	return err
}
