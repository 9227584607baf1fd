package consumer

import (
	"context"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A Hook observes a worker, for metrics, traces and tests. It implements at least one of
// [BatchStartHook], [BatchEndHook], [TroubleHook], [CommitHook] and [MaintainHook]. The
// worker calls the hooks in the order of Config.Hooks and waits for each. If a hook panics, Run commits what is settled
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

// CommitHook is called after each attempt to write marks and commit offsets, before the next
// attempt. Up to ten attempts are made a second, and one before partitions are given up: a
// rebalance then waits for the hook.
type CommitHook interface {
	// Commit gets a context that does not end with the worker's.
	Commit(ctx context.Context, c Commit)
}

// MaintainHook is called after the worker has settled something that is not part of a batch, or
// has failed to: parked records, dead letters of an older version of a machine, and timers. It
// is not called if there was nothing to do. Several goroutines may call it at the same time.
type MaintainHook interface {
	// Maintained gets a context that may have ended.
	Maintained(ctx context.Context, m Maintenance)
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

// A Commit describes an attempt to write marks and commit offsets.
type Commit struct {
	// Partitions is how many partitions had offsets to commit.
	Partitions int

	// Took is how long the attempt took, with the marks.
	Took time.Duration

	// OK reports whether the marks were written and all offsets were committed. If not, the
	// worker logs why, and the next commit covers the rest.
	OK bool
}

// A Task is a kind of work that a worker does beside its batches.
type Task string

const (
	Sweeping  Task = "sweep"   // judges parked records again, and ends those that waited too long
	Firing    Task = "fire"    // makes the events of due timers happen
	Redriving Task = "redrive" // judges dead letters of an older version of a machine again
)

// A Maintenance describes work that a worker has done beside its batches. A hook must not keep
// or change its slices.
type Maintenance struct {
	Task Task

	// Settled are the records of timers or dead letters that were settled, with the parked
	// records that this released.
	Settled []versioning.Settled

	// Expired is how many parked records became dead letters because they waited too long.
	// They are not part of Settled.
	Expired int

	Took time.Duration

	// Err is the error if some of the work failed; the worker retries. nil if there was none.
	Err error
}
