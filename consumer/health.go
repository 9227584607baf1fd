package consumer

import "time"

// HealthState says in a word how a worker is.
type HealthState string

const (
	Starting  HealthState = "starting"  // not a member of its group: not yet, or not any more
	Consuming HealthState = "consuming" // a member that has nothing to do, or gets on with it
	Troubled  HealthState = "troubled"  // something of its work makes no progress; it tries again
	Stopped   HealthState = "stopped"   // Run has returned
)

// Health is how a worker is at one moment, as far as it knows without asking
// anybody.
type Health struct {
	State HealthState
	Since time.Time // when State began

	// Reason says in a few words why a worker is not Consuming: empty if it is.
	Reason string

	// Partition is where the trouble was met, as topic/partition; empty if it is
	// not that of one partition. Of a batch it is the first one's. Of a topic that
	// does not exist it is the topic's name.
	Partition string

	// Err is the last error of the trouble, or the one that Run returned. nil
	// if there is none.
	Err error

	// LastProgress is when records were last settled in the database. The zero
	// time means never.
	LastProgress time.Time

	// Lag is how many offsets the worker's partitions have beyond what is
	// settled, up to the end of the log, also where an open transaction hides it. The
	// brokers say how long the log is with the records that they send, and are asked
	// when the worker looks for its topics. A partition counts as 0 until it is known
	// from where on it is consumed.
	Lag int64

	// Partitions is how many the worker has. 0 is no trouble: the others of the
	// group may have them all.
	Partitions int
}

// Live tells whether the worker's Run goes on, or has not begun. A worker that
// is in trouble is live: it tries again by itself, and a restart would mend
// nothing.
func (h Health) Live() bool { return h.State != Stopped }

// Ready tells whether the worker is a member of its group and makes progress
// where there is something to do.
func (h Health) Ready() bool { return h.State == Consuming }

// Health tells how the worker is. It asks neither the broker nor the database,
// and may be called at any time, by any goroutine.
//
// A worker is Troubled from the first attempt to write a batch that fails until
// one succeeds; while no broker answers, which it finds out within a minute or so;
// while one of Config.Topics does not exist, which it looks for when it starts and
// then once a minute, and every few seconds while one is missing;
// while fetches bring nothing but errors;
// while a partition has nothing to consume but what a producer's open transaction
// hides, for Config.StalledAfter or longer;
// while dead letters can't be copied to Config.DeadLetterTopic;
// and when it has settled nothing for Config.StalledAfter although there is lag.
func (w *Worker) Health() Health { return w.vitals.health() }
