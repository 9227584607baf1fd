package consumer

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/pawl-go/pawl/versioning"
)

// A PanicError says that one of the caller's functions panicked. Its Callback is one
// of "Decode", "Hooks[0].BatchEnd" and the like, "Logger" and "DeadLetterTopic".
//
// A panic in Decode is the error of the record, which becomes a dead letter with the
// panic as its detail; it is not logged. A panic in a Hook or the Logger ends Run, which
// returns it, because nobody can see any more what the worker does. A panic in
// DeadLetterTopic fails the copy, which is tried again.
type PanicError = versioning.PanicError

// protect calls a callback. It returns a panic of it as a PanicError.
func protect(callback string, call func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Callback: callback, Value: p, Stack: debug.Stack()}
		}
	}()
	call()
	return nil
}

// careful is a handler of logs whose panics end the run: they would end the process
// where the log is written by a goroutine of the Kafka client.
type careful struct {
	slog.Handler

	broken func(error) // may be called by several goroutines, and many times
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
