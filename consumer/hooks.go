package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A Hook observes a worker, for metrics, traces and tests. It implements at least one of
// [BatchStartHook], [BatchEndHook] and [TroubleHook]. The worker calls the hooks in the
// order of Config.Hooks and waits for each. If a hook panics, Run commits what is settled
// and returns a [PanicError].
type Hook any

// BatchStartHook is called before the store applies a batch. Batches do not overlap:
// BatchEndHook is called for one batch before BatchStartHook is called for the next,
// unless a hook panics.
type BatchStartHook interface {
	// BatchStart returns ctx or a context derived from it, for example one with a span.
	// The worker passes that context to the next hook, to the store's Split and Apply,
	// and to Trouble and BatchEnd. It uses only the values of the returned context:
	// canceling it, or a deadline, does not affect the batch. nil means ctx.
	BatchStart(ctx context.Context, b BatchStart) context.Context
}

// BatchEndHook is called after each batch, once the store has settled its records or
// the worker has given it up. The worker commits the offsets in the background, together
// with those of other batches.
type BatchEndHook interface {
	// BatchEnd gets the batch's context. That context is canceled if the batch is not
	// finished Config.ShutdownGrace after Run's context was canceled.
	BatchEnd(ctx context.Context, b Batch)
}

// TroubleHook is called when an attempt to apply a batch, or to decode one of its records, has
// failed with an error that retrying can fix, before the worker waits and retries. Several
// goroutines may call it at the same time.
type TroubleHook interface {
	// Trouble gets the batch's context, the error, and how long the worker will wait
	// before it retries. A batch that is being decoded has not started, so for trouble with
	// that, Trouble gets a context with the values of Run's.
	Trouble(ctx context.Context, err error, retryIn time.Duration)
}

// A BatchStart describes a batch before it is applied. A hook must not keep or change
// its slice.
type BatchStart struct {
	// Records are the batch's decoded records, ordered by partition and offset.
	Records []*versioning.Record

	// Decode is how long decoding took, with the waits of trouble. Decoding is complete when
	// the hook is called;
	// it may have run while the previous batch was applied.
	Decode time.Duration
}

// A Batch describes a batch after it was applied or given up. A hook must not keep or
// change its slices.
type Batch struct {
	// Records are the batch's records, and Outcomes their outcomes in the same order.
	// The verdict is Undecided if the worker gave the record up. Kafka delivers such a
	// record again, to this worker or to another.
	Records  []*versioning.Record
	Outcomes []versioning.Outcome

	// Released holds the parked records that this batch released.
	Released []versioning.Settled

	// Decode and Apply are how long the steps took.
	Decode, Apply time.Duration
}

func isHook(h Hook) bool {
	switch h.(type) {
	case BatchStartHook, BatchEndHook, TroubleHook:
		return true
	}
	return false
}

// hooks calls the hooks of a worker. Its methods return an error if a hook panics.
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

// A batchContext has the values of a hook's context, and the cancellation and deadline of
// the worker's. If a hook could cancel a batch, the batch would be skipped: the worker
// would go on to the next one and commit its offsets.
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
