package consumer

import (
	"context"

	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// Store holds the entities and gives records their verdicts. *postgres.Store is one, and
// versioningtest has one in memory. It must be safe for concurrent use.
type Store interface {
	// Prepare completes and checks a record before Apply. If the record is wrong, it
	// sets the record's Err.
	Prepare(*versioning.Record)

	// Split distributes the records of a batch to at most n lists that can be applied
	// concurrently. It keeps their order and returns where they come from: element i of
	// list s is records[index[s][i]]. If it returns an error, the worker applies the
	// batch as one list. [versioning.Split] is enough for a store that parks no records
	// with several changes.
	Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error)

	// Apply settles records, in their order, and returns their verdicts once its
	// transaction has committed. If it returns an error, the first len(Result.Outcomes)
	// records are settled, and the worker may pass the rest to Apply again. If the
	// database is no longer on the server that Marks returned, Apply writes nothing and
	// returns [versioning.ErrServerChanged]. After [versioning.ErrSplitAgain] the worker
	// splits the rest again first.
	Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error)

	// Marks returns how far the group has settled the partitions of the topics with the
	// given IDs. It also returns the server it read that from; its name must not be empty.
	Marks(ctx context.Context, group string, topicIDs [][16]byte) ([]versioning.Mark, versioning.Server, error)

	// SetMarks stores how far the group has settled partitions. If the database is no
	// longer on the given server, or one of the stored marks is behind the mark's Last,
	// it returns [versioning.ErrServerChanged]. The worker commits offsets after
	// SetMarks has succeeded.
	SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error
}

// A Sweeper is a Store that can sweep its parked records; *postgres.Store is one. The worker
// calls Sweep at least every Config.SweepEvery, from one goroutine, and passes how far its
// partitions are read.
type Sweeper interface {
	Sweep(context.Context, versioning.Reading) (versioning.Swept, error)
}

// An OlderRedriver is a Store that can redrive the dead letters which an older version of a machine
// has judged; *postgres.Store is one. The worker calls RedriveOlder with its partitions and
// Config.Decode after each sweep, until there are no more.
type OlderRedriver interface {
	RedriveOlder(ctx context.Context, from map[string][]int32, decode func(*versioning.Record) ([]versioning.Change, error)) (settled []versioning.Settled, more bool, err error)
}

// A TimerFirer is a Store that can fire timers; *postgres.Store is one. The worker calls
// FireTimers when a timer is due, at least every Config.FireEvery, and from up to
// Config.Connections goroutines when many are due.
type TimerFirer interface {
	// FireTimers makes the events of up to limit due timers happen, and returns their
	// outcomes once its transaction has committed. It skips timers that others are firing. If
	// it returns an error, the timers without an outcome are fired later. An error together
	// with More concerns only timers that it has set aside: others can be fired at once.
	FireTimers(ctx context.Context, limit int) (versioning.Fired, error)
}

// A TimerCounter is a Store that can count its timers; *postgres.Store is one. The worker needs
// it for Health.Timers.
type TimerCounter interface {
	CountTimers(context.Context) (versioning.TimerCounts, error)
}

// A DeadLetterCopier is a Store whose dead letters can be copied to topics; *postgres.Store
// is one. Config.DeadLetterTopic needs it.
type DeadLetterCopier interface {
	// CopyDeadLetters passes up to limit dead letters of the given partitions that are
	// not copied yet to copyTo, and marks those as copied whose IDs copyTo returns. It
	// should hold no connection while copyTo runs, because brokers may not answer.
	CopyDeadLetters(ctx context.Context, from map[string][]int32, limit int,
		copyTo func(context.Context, []versioning.DeadLetter) ([]int64, error)) (int, error)
}

// A StepwiseReporter is a Store that knows which tables it writes one step at a time;
// *postgres.Store is one. The worker logs them when it starts.
type StepwiseReporter interface {
	Stepwise() []versioning.Stepwise
}

// An OutboxStore is a Store with an outbox, which package relay empties; *postgres.Store is one.
type OutboxStore interface {
	relay.Store

	// Emits reports whether there may be messages in the outbox.
	Emits() bool
}
