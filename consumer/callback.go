package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// A PanicError says that one of the caller's functions panicked. In Decode it is the
// error of the record, which becomes a dead letter. In a Hook or the Logger it ends Run,
// which returns it: what the worker does is not known any more to who watches it. In
// DeadLetterTopic it fails the copy, which is tried again.
type PanicError struct {
	Callback string // what panicked: "Decode", "Hooks[0].OnBatch", "Logger", "DeadLetterTopic"
	Value    any    // what panic was called with
	Stack    []byte // of the goroutine, as debug.Stack formats it
}

// Error returns the callback, the value and the stack. Of Decode it is the dead
// letter's detail, and is not logged.
func (e *PanicError) Error() string {
	return fmt.Sprintf("%s panicked: %v\n%s", e.Callback, e.Value, e.Stack)
}

// Unwrap returns the value that panic was called with, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// caught turns the panic of a callback into an error. It must be deferred.
func caught(err *error, callback string) {
	if p := recover(); p != nil {
		*err = &PanicError{Callback: callback, Value: p, Stack: debug.Stack()}
	}
}

// protect calls a callback.
func protect(callback string, call func()) (err error) {
	defer caught(&err, callback)
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
