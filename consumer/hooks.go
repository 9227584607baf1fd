package consumer

import (
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A Hook is told what a worker does: for metrics, traces and tests. It
// implements at least one of the interfaces below. Hooks are called by the
// worker's own goroutines, and hold it up while they run. A panic of one ends Run, which
// returns a [PanicError]; what is settled by then is committed.
type Hook any

// BatchHook is told of each batch, one after the other, once it is settled. Its
// offsets are committed soon after that, with those of others.
type BatchHook interface {
	OnBatch(Batch)
}

// TroubleHook is told of each attempt to write a batch that failed for trouble
// of infrastructure, before the worker waits and tries again. It may be called
// by several goroutines at the same time.
type TroubleHook interface {
	OnTrouble(err error, retryIn time.Duration)
}

// A Batch tells of a settled batch. Its slices must not be kept or changed.
type Batch struct {
	// Records and Outcomes are the batch's records and, in the same order, their
	// verdicts. A verdict is Undecided where the batch was abandoned.
	Records  []*versioning.Record
	Outcomes []versioning.Outcome

	// Released holds the records parked earlier that this batch settled.
	Released []versioning.Settled

	// Decode and Apply are the times that the steps took.
	Decode, Apply time.Duration
}

func isHook(h Hook) bool {
	switch h.(type) {
	case BatchHook, TroubleHook:
		return true
	}
	return false
}
