package consumer

import (
	"time"

	"github.com/pawl-go/pawl/internal/health"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// HealthState is the state of a worker.
type HealthState string

const (
	Starting  HealthState = "starting"  // not yet, or no longer, a member of its group
	Consuming HealthState = "consuming" // a member that makes progress or has nothing to do
	Troubled  HealthState = "troubled"  // part of its work makes no progress; it retries
	Stopped   HealthState = "stopped"   // Run has returned
)

// Health is what a worker knows about itself at one moment, without asking the broker or
// the database.
type Health struct {
	State HealthState
	Since time.Time // when State began

	// Reason says in a few words why a worker is not Consuming. Empty if it is.
	Reason string

	// Partition is the partition in trouble, as topic/partition. For a batch it is the
	// partition of the first record. For a topic that does not exist, or that messages can't
	// be published to, it is the topic's name. Empty if the trouble does not concern a single partition.
	Partition string

	// Err is the last error of the trouble, or the one that Run returned. nil
	// if there is none.
	Err error

	// LastProgress is when the database last settled records. The zero time means never.
	LastProgress time.Time

	// Lag is how many offsets the worker's partitions have beyond what is settled, up to
	// the end of the log, including what an open transaction hides. The worker learns the
	// end of the log from each fetch, and asks for it whenever it checks its topics. A
	// partition counts as 0 until the worker knows at which offset it begins.
	Lag int64

	// Behind is since when there have been records that the worker could settle, without a
	// moment in which it had settled all that it knew of. It is zero if there are none now.
	// A worker that keeps up with a steady stream may be behind for long. Behind and
	// LastProgress together show a worker that stands still.
	Behind time.Time

	// Partitions is how many partitions the worker owns. 0 is not a trouble: the other
	// workers of the group may own all of them.
	Partitions int

	// Timers counts the armed timers of the Store's machines: those of all workers, because
	// any worker fires them. The worker counts them every 15 seconds. Timers that no longer
	// hold, because their entity has left the state, count too. It is zero until the first
	// count, and if the Store is not a [TimerCounter] or the worker does not fire timers.
	Timers versioning.TimerCounts

	// Relay is the state of the worker's relay, which the worker looks at twice a second. Its
	// State is empty if the worker runs none. The counts begin again when the worker replaces
	// its relay, which it does after an error that ends the relay.
	Relay relay.Health
}

// Live reports whether Run has not returned, or was not called yet. A troubled worker is
// live: it retries, and restarting it does not help.
func (h Health) Live() bool { return h.State != Stopped }

// Ready reports whether the worker is a member of its group and makes progress if there
// is lag.
func (h Health) Ready() bool { return h.State == Consuming }

// Health reports the worker's state. It asks neither the broker nor the database. Any
// goroutine may call it at any time.
//
// A worker is Troubled:
//
//   - from the first failed attempt to write a batch until one succeeds, and while it
//     can't read or write its marks
//   - from the first failed attempt to decode a record until one succeeds, if the decode function
//     returns trouble: see [versioning.Trouble]
//   - while no broker answers, which it notices within about a minute
//   - while one of Config.Topics does not exist. It checks that when it starts and then
//     once a minute, and every few seconds while one is missing
//   - while fetches return only errors
//   - while a partition stops at a batch that is too large to decompress
//   - while the only records that a partition has left are hidden by a producer's open
//     transaction, for Config.StalledAfter or longer
//   - while its relay can't publish messages of transitions; see package relay
//   - while dead letters can't be copied to Config.DeadLetterTopic
//   - from the first failed attempt to fire timers until one succeeds. A timer that the Store
//     sets aside, to fire the others, is no failure
//   - while it has settled nothing for Config.StalledAfter although there is lag
func (w *Worker) Health() Health { return w.vitals.health() }

func (h Health) being(state HealthState, c health.Condition) Health {
	h.State, h.Since, h.Reason, h.Partition, h.Err = state, c.Since, c.Reason, c.At, c.Err
	return h
}
