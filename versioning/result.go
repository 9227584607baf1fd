package versioning

import (
	"errors"
	"time"
)

// A Result is what a store has settled of a batch.
type Result struct {
	// Outcomes holds the outcomes of the records, in their order. After an error it
	// holds those that are settled in the database: the outcomes of the first
	// len(Outcomes) records.
	Outcomes []Outcome

	// Released holds the previously parked records that this batch settled.
	Released []Settled
}

// ErrContended says that other writers moved the rows of a batch on every attempt, or
// that something in the database keeps the rows from moving, such as a trigger that
// drops writes. Nothing was written. Retry.
var ErrContended = errors.New("other writers keep changing the rows of the batch")

// ErrSplitAgain says that a table was altered since the store's Split: records in
// different lists may now share an entity. Wait until no other list is being applied,
// then split the records without a verdict again.
var ErrSplitAgain = errors.New("a table was altered since the records were split; split them again")

// Swept is the result of a sweep.
type Swept struct {
	// At is the database's time before the sweep did anything, for Until in later
	// sweeps. It is zero if the sweep failed before that.
	At time.Time

	Released []Settled // the parked records that were settled
	Expired  int       // the number of parked records that became dead letters because of their age
}

// Reading tells a sweep how far its caller has read. The sweep needs it to measure the
// age of parked records.
type Reading struct {
	// Partitions are the partitions that the caller currently reads, each of them once.
	Partitions []ReadPartition

	// Pause is the longest step of the clock that still counts. Make it a few times the
	// interval between two sweeps. With 0 no time counts, so nothing expires.
	Pause time.Duration
}

// A ReadPartition says how far a partition was read.
type ReadPartition struct {
	TopicID   [16]byte
	Partition int32

	// Until is Swept.At of an earlier sweep. It says that everything the partition held
	// at that time is settled. To find out, ask for the end of the partition after that
	// sweep and wait until it is settled up to there. The zero time means that nothing
	// is known yet.
	Until time.Time
}

// A DeadLetter is a complete record that could not be applied, and why.
type DeadLetter struct {
	ID       int64
	Record   *Record // as it arrived, without its changes: a redrive decodes them again
	Outcome  Outcome
	Attempts int // 1, and one more for each failed redrive
	DiedAt   time.Time
}

// A ParkedRecord is a record that waits for its entity to move.
type ParkedRecord struct {
	Parked

	// ParkedAt is when the record was parked, plus the time that does not count for its
	// age.
	ParkedAt time.Time
}

// Stepwise says that the steps of one table are written one at a time, and why.
type Stepwise struct {
	Machine string
	Table   string

	// Always names what requires it for every step, such as triggers.
	Always []string

	// Sometimes names what requires it if several steps of one entity in a batch set
	// the columns concerned, such as CHECK constraints.
	Sometimes []string
}
