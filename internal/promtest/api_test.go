package promtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/otel"
)

// An api is an HTTP server behind a gateway. Its metrics are under /metrics.
type api struct {
	url  string
	down atomic.Bool // the gateway's backend
	next int         // the number of the next request
}

func openAPI(t *testing.T) *api {
	t.Helper()
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	a := &api{}
	backend, err := otel.Backend(otel.Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))}, "memory", failing{gatewaytest.NewMemory(0), &a.down})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{Backend: backend, Tenant: func(*http.Request) string { return "customer" }})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /orders", g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// failing is a backend that may be down.
type failing struct {
	gateway.Backend

	down *atomic.Bool
}

func (f failing) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	if f.down.Load() {
		return nil, nil, &gateway.UnavailableError{Err: errors.New("down")}
	}
	return f.Backend.Begin(ctx, key)
}

// use sends a request, twice.
func (a *api) use(ctx context.Context) error {
	a.next++
	for range 2 {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/orders", nil)
		if err != nil {
			return err
		}
		request.Header.Set("Idempotency-Key", fmt.Sprintf(`"%d"`, a.next))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated && !a.down.Load() && ctx.Err() == nil {
			return fmt.Errorf("POST /orders: %s", response.Status)
		}
	}
	return nil
}
