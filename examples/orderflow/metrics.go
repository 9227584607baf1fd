package main

import (
	"context"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/otel"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A monitor measures a worker, for Prometheus. For traces, set the global tracer provider of
// OpenTelemetry, for example to one that exports to an OTLP endpoint.
type monitor struct {
	*otel.Observer

	registry *prometheus.Registry
	running  sync.WaitGroup
}

func newMonitor(cfg workerConfig, store *postgres.Store) (*monitor, error) {
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	observer, err := otel.New(otel.Config{
		Group: cfg.group, Store: store, MeterProvider: sdk.NewMeterProvider(sdk.WithReader(reader)),
		CountEvery: cfg.countEvery, Logger: cfg.logger,
	})
	if err != nil {
		return nil, err
	}
	return &monitor{Observer: observer, registry: registry}, nil
}

// serve serves the worker's probes, and its metrics at /metrics, until stop is called.
func (m *monitor) serve(ctx context.Context, cfg workerConfig, worker *consumer.Worker) (stop func(), err error) {
	if err := m.Watch(worker); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.Handle("/", worker.Handler())
	stopServer, err := serveHealth(ctx, cfg.listen, mux, cfg.logger)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	m.running.Go(func() { m.Run(ctx) })
	return func() {
		stopServer()
		cancel()
		m.running.Wait()
	}, nil
}
