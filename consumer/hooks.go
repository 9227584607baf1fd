package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A Hook observes a worker: for metrics, traces and tests. It implements at least one
// of [BatchStartHook], [BatchEndHook] and [TroubleHook]. The worker's own goroutines call
// the hooks, in the order of Config.Hooks, and wait for them. If a hook panics, Run
// commits what is settled and returns a [PanicError].
type Hook any

// BatchStartHook is called before the store applies a batch. Batches do not overlap:
// BatchEndHook is called for one batch before BatchStartHook is called for the next,
// unless a hook panics.
type BatchStartHook interface {
	// BatchStart returns ctx, or a context derived from it: one with a span, for
	// example. The next hook gets that context, and then the store's Split and Apply,
	// Trouble and BatchEnd. The worker takes only the values of the returned context:
	// canceling it, or a deadline, has no effect on the batch. nil means ctx.
	BatchStart(ctx context.Context, b BatchStart) context.Context
}

// BatchEndHook is called after each batch, once the store has settled its records or
// the worker has given it up. The worker commits the offsets soon after that, together
// with those of other batches.
type BatchEndHook interface {
	// BatchEnd gets the batch's context. It is canceled if the batch took longer than
	// Config.ShutdownGrace after Run's context ended.
	BatchEnd(ctx context.Context, b Batch)
}

// TroubleHook is called when an attempt to apply a batch has failed because of
// infrastructure, before the worker waits and tries again. Several goroutines may call
// it at the same time.
type TroubleHook interface {
	// Trouble gets the batch's context, the error, and how long the worker waits.
	Trouble(ctx context.Context, err error, retryIn time.Duration)
}

// A BatchStart describes a batch before it is applied. A hook must not keep or change
// its slice.
type BatchStart struct {
	// Records are the batch's records, decoded, by partition and offset.
	Records []*versioning.Record

	// Decode is the time that decoding them took. It is over: while a batch is
	// decoded, the one before it may be applied.
	Decode time.Duration
}

// A Batch describes a batch after it was applied. A hook must not keep or change its
// slices.
type Batch struct {
	// Records and Outcomes are the batch's records and, in the same order, their
	// verdicts. A verdict is Undecided where the worker gave the record up: it is
	// delivered again, to this worker or to another.
	Records  []*versioning.Record
	Outcomes []versioning.Outcome

	// Released holds the records parked earlier that this batch settled.
	Released []versioning.Settled

	// Decode and Apply are the times that the steps took.
	Decode, Apply time.Duration
}

func isHook(h Hook) bool {
	switch h.(type) {
	case BatchStartHook, BatchEndHook, TroubleHook:
		return true
	}
	return false
}

// hooks calls the hooks of a worker. Its methods return an error if one panics.
type hooks []Hook

func (hooks hooks) batchStart(ctx context.Context, b BatchStart) (context.Context, error) {
	for i, hook := range hooks {
		h, ok := hook.(BatchStartHook)
		if !ok {
			continue
		}
		var next context.Context
		err := protectHook(i, "BatchStart", func() { next = h.BatchStart(ctx, b) }) //nolint:fatcontext // it is the hook's
		if err != nil {
			return ctx, err
		}
		if next != nil {
			ctx = batchContext{ctx, next} //nolint:fatcontext // one for each hook
		}
	}
	return ctx, nil
}

// A batchContext has the values of a hook's context and ends when the worker says. A
// batch that a hook could end would be passed over: the worker goes on with the next
// one, whose offsets are committed.
type batchContext struct {
	context.Context

	values context.Context
}

// Value implements [context.Context].
func (c batchContext) Value(key any) any { return c.values.Value(key) }

func (hooks hooks) batchEnd(ctx context.Context, b Batch) error {
	for i, hook := range hooks {
		if h, ok := hook.(BatchEndHook); ok {
			if err := protectHook(i, "BatchEnd", func() { h.BatchEnd(ctx, b) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (hooks hooks) trouble(ctx context.Context, trouble error, retryIn time.Duration) error {
	for i, hook := range hooks {
		if h, ok := hook.(TroubleHook); ok {
			if err := protectHook(i, "Trouble", func() { h.Trouble(ctx, trouble, retryIn) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func protectHook(i int, method string, call func()) error {
	return protect(fmt.Sprintf("Hooks[%d].%s", i, method), call)
}
