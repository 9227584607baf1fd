package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// serveHealth serves a worker's probes until stop is called. It listens before
// it returns, so that an unusable address is an error at once.
func serveHealth(ctx context.Context, address string, handler http.Handler, log *slog.Logger) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve health on --listen %s: %w", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health endpoint failed", "error", err)
		}
	}()
	log.Info("serving health", "address", listener.Addr().String())
	return func() {
		_ = server.Close() // the worker has stopped, so no probe needs an answer
		<-done
	}, nil
}
