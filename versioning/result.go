package versioning

import (
	"errors"
	"time"
)

// A Result is what a store has settled of a batch.
type Result struct {
	// Outcomes holds the verdicts on the records, in their order. After an
	// error it holds those that are settled in the database: the verdicts of
	// the first len(Outcomes) records.
	Outcomes []Outcome

	// Released holds the records parked before this batch that got their last
	// verdict by it.
	Released []Settled
}

// ErrContended says that the rows of a batch were moved by someone else on
// every attempt, or that something in the database, such as a trigger that
// drops writes, keeps them from moving. Nothing was written; try again.
var ErrContended = errors.New("rows keep being moved by someone else")

// ErrSplitAgain says that a table was altered since a store's Split dealt records out to
// several lists: records in different lists may share an entity by now. Split the
// records without a verdict again, once no other list is being applied.
var ErrSplitAgain = errors.New("a table was altered since the records were split; split them again")

// Swept says what a sweep did.
type Swept struct {
	// At is the database's time before the sweep did anything, for the Until of later
	// sweeps; zero if the sweep failed before that.
	At time.Time

	Released []Settled // parked records that got their last verdict
	Expired  int       // parked records that became dead letters, for their age
}

// Reading tells a sweep how far its caller has read. The age of parked records is
// measured by it.
type Reading struct {
	// Partitions are those that the caller reads at present, each of them once.
	Partitions []ReadPartition

	// Pause is the longest step that the clock may make and still count it. It should be
	// a few times as long as the time between two sweeps. With 0 no time counts, and so
	// nothing expires.
	Pause time.Duration
}

// A ReadPartition is how far a partition is read.
type ReadPartition struct {
	TopicID   [16]byte
	Partition int32

	// Until is the Swept.At of an earlier sweep: everything that the partition held at
	// that time is settled. To know that, ask for the end of the partition after that
	// sweep, and wait until it is settled up to there. The zero time means that nothing
	// is known yet.
	Until time.Time
}

// A DeadLetter is a record that could not be applied, whole, and why.
type DeadLetter struct {
	ID       int64
	Record   *Record // as it came, without its changes: they are decoded again
	Outcome  Outcome
	Attempts int // 1, and one more for each failed redrive
	DiedAt   time.Time
}

// A ParkedRecord is a record that waits for its entity to move.
type ParkedRecord struct {
	Parked

	// ParkedAt is when the record was parked, and later by the time that does not count
	// for its age.
	ParkedAt time.Time
}

// Stepwise says of one table that each step reaches it by itself, and why.
type Stepwise struct {
	Machine string
	Table   string

	// Always names what has every step reach the table: triggers, for instance.
	Always []string

	// Sometimes names what has steps reach the table one by one where several of one
	// entity come in one batch and set the columns concerned: CHECKs, for instance.
	Sometimes []string
}
