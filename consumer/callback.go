package consumer

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/pawl-go/pawl/versioning"
)

// A PanicError reports that one of the application's functions panicked. Its Callback is
// "Decode", "Logger", "DeadLetterTopic", or a hook's method such as "Hooks[0].BatchEnd".
//
// If Decode panics, the record becomes a dead letter with the panic as its detail; the panic
// is not logged. If a Hook or the Logger panics, Run returns the error, because nobody could
// see what the worker does. If DeadLetterTopic panics, the copy fails and is retried.
type PanicError = versioning.PanicError

// protect calls a callback. If it panics, protect returns a PanicError.
func protect(callback string, call func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Callback: callback, Value: p, Stack: debug.Stack()}
		}
	}()
	call()
	return nil
}

// careful is a slog.Handler that ends the run if the handler in it panics. Some lines are
// logged from goroutines of the Kafka client, where a panic would end the process.
type careful struct {
	slog.Handler

	broken func(error) // called by several goroutines, and once per panic
}

// Enabled implements [slog.Handler].
func (h careful) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	h.report(protect("Logger", func() { enabled = h.Handler.Enabled(ctx, level) }))
	return enabled
}

// Handle implements [slog.Handler].
func (h careful) Handle(ctx context.Context, r slog.Record) (err error) {
	h.report(protect("Logger", func() { err = h.Handler.Handle(ctx, r) }))
	return err
}

// WithAttrs implements [slog.Handler].
func (h careful) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := h.Handler
	h.report(protect("Logger", func() { with = h.Handler.WithAttrs(attrs) }))
	return careful{with, h.broken}
}

func (h careful) report(err error) {
	if err != nil {
		h.broken(err)
	}
}
