package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	responses "github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A serverConfig configures the HTTP API.
type serverConfig struct {
	databaseURL string
	listen      string // host:port
	callers     callers
	logger      *slog.Logger
	started     func(net.Addr) // nil means none
}

// shutdownGrace is how long requests may go on after ctx is done.
const shutdownGrace = 10 * time.Second

// serve answers HTTP requests until ctx is done. Any number of processes may serve, beside any
// number of workers.
func serve(ctx context.Context, cfg serverConfig) error {
	pool, err := pgxpool.New(ctx, cfg.databaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	defer pool.Close()
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: Payment, Name: "payments.payments"})
	if err != nil {
		return err
	}
	backend, err := responses.Open(ctx, pool, responses.Config{})
	if err != nil {
		return err
	}
	a := &api{store: store, pool: pool, logger: cfg.logger}
	handler, err := a.handler(backend.WithoutTransaction(), cfg.callers)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.listen)
	if err != nil {
		return err
	}
	if cfg.started != nil {
		cfg.started(listener.Addr())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	swept := make(chan error, 1)
	go func() {
		swept <- backend.Run(ctx, func(err error) { cfg.logger.WarnContext(ctx, "expired responses were not deleted", "error", err) })
	}()
	err = listen(ctx, listener, handler)
	cancel()
	return errors.Join(err, <-swept)
}

// listen serves until ctx is done, and then lets the running requests end.
func listen(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	err := server.Serve(listener)
	if stop() {
		return err // the listener failed
	}
	return <-stopped
}
