package otel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/otel"
)

func measured(t *testing.T, b gateway.Backend) (gateway.Backend, sdk.Reader) {
	t.Helper()
	reader := sdk.NewManualReader()
	wrapped, err := otel.Backend(otel.Config{MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader))}, "memory", b)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped, reader
}

// A backend that is measured gives handlers the context of the run.
func TestBackendPassesTheContext(t *testing.T) {
	t.Parallel()
	b, _ := measured(t, contextual{gatewaytest.NewMemory(0)})
	run, _, err := b.Begin(t.Context(), gateway.Key{Tenant: "t"})
	if err != nil {
		t.Fatal(err)
	}
	if got := run.Context(t.Context()).Value(contextual{}); got != "tx" {
		t.Errorf("the context has %v", got)
	}
	if err := run.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A contextual backend gives its handlers something.
type contextual struct{ gateway.Backend }

func (c contextual) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	run, stored, err := c.Backend.Begin(ctx, key)
	return contextualRun{run}, stored, err
}

type contextualRun struct{ gateway.Run }

func (contextualRun) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextual{}, "tx")
}

// A broken backend fails.
type broken struct{ err error }

func (b broken) Begin(context.Context, gateway.Key) (gateway.Run, []byte, error) {
	return nil, nil, b.err
}

// A brokenRun can't be ended.
type brokenRun struct {
	gateway.Run

	err error
}

func (r brokenRun) Begin(context.Context, gateway.Key) (gateway.Run, []byte, error) {
	return r, nil, nil
}
func (r brokenRun) Finish(context.Context, gateway.Result) error { return r.err }

// TestBackendMetrics checks that each operation is counted by its outcome.
func TestBackendMetrics(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, reader := measured(t, gatewaytest.NewMemory(time.Hour))
	key := gateway.Key{Tenant: "t", Route: "r", Value: "k"}
	run, _, err := b.Begin(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Begin(ctx, key); err == nil {
		t.Fatal("the key is free")
	}
	if err := run.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if run, _, err = b.Begin(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := run.Finish(ctx, gateway.Result{Response: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, stored, err := b.Begin(ctx, key); err != nil || string(stored) != "x" {
		t.Fatal(stored, err)
	}
	if _, err := otel.New(otel.Config{}); err != nil { // with the global providers
		t.Error(err)
	}
	of := func(operation, outcome string) string {
		return "gateway.backend=memory gateway.operation=" + operation + " gateway.outcome=" + outcome
	}
	want := map[string]float64{
		of("begin", "run"): 2, of("begin", "in_progress"): 1, of("begin", "replay"): 1, of("finish", "stored"): 1, of("release", "released"): 1,
	}
	if diff := cmp.Diff(want, collect(t, reader)["pawl.gateway.duration"]); diff != "" {
		t.Errorf("counts (-want, +got):\n%s", diff)
	}
	for outcome, err := range map[string]error{
		"unavailable": &gateway.UnavailableError{Err: errors.New("full")}, "canceled": context.Canceled, "error": errors.New("no table"),
		"taken": gateway.ErrTaken, "unknown": gateway.ErrFateUnknown,
	} {
		b, reader := measured(t, broken{err})
		_, _, _ = b.Begin(ctx, key)
		if got := collect(t, reader)["pawl.gateway.duration"]; got[of("begin", outcome)] != 1 {
			t.Errorf("an error %v is counted as %v", err, got)
		}
		b, reader = measured(t, brokenRun{err: err})
		run, _, _ := b.Begin(ctx, key)
		if got := run.Finish(ctx, gateway.Result{}); !errors.Is(got, err) {
			t.Errorf("Finish = %v, want %v", got, err)
		}
		if got := collect(t, reader)["pawl.gateway.duration"]; got[of("finish", outcome)] != 1 {
			t.Errorf("an error %v of Finish is counted as %v", err, got)
		}
	}
}
