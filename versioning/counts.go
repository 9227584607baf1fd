package versioning

import "time"

// StoredCounts say what waits in the framework's tables. Each count is limited, so that counting
// is cheap however much waits.
type StoredCounts struct {
	// Machines has the counts of each of the store's machines. A last one without a name has
	// the dead letters that name no machine, such as those that can't be decoded.
	Machines []MachineCounts

	// Outbox is what the outbox contains, and the unsent messages. It is zero if the store
	// has no outbox; Unsent is also zero if the role may not read them.
	Outbox OutboxDepth

	// OutboxAtLeast reports whether the outbox may contain more than was counted. Oldest and
	// Age are exact all the same.
	OutboxAtLeast bool
}

// MachineCounts say what waits for the entities of a machine.
type MachineCounts struct {
	Machine     string
	Parked      int64 // parked records
	DeadLetters int64

	// ParkedAge is how long the oldest of the counted parked records has waited, by the
	// database's clock. Time that does not count for Table.ParkFor does not count here.
	ParkedAge time.Duration

	// AtLeast reports whether there may be more parked records or dead letters than were
	// counted. Then ParkedAge may be too low.
	AtLeast bool
}
