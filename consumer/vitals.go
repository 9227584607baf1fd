package consumer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pawl-go/pawl/internal/health"
	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// Health.Reason of a worker that is not Consuming.
const (
	reasonNotRun    = "Run was not called"
	reasonNotJoined = "not a member of the group yet"
	reasonLost      = "the group went on without this worker; joining again"
	reasonStopped   = "Run has returned"

	reasonStartsOver = "database server has changed; going back to its marks"
	reasonDatabase   = "database in trouble; retrying"
	reasonDecode     = "records can't be decoded; retrying"
	reasonBroker     = "no broker answers; retrying"
	reasonNoTopic    = "topic does not exist; create it"
	reasonCopy       = "dead letters can't be copied to their topic; retrying"
	reasonTimers     = "timers can't be fired; retrying"
	reasonRelay      = "messages of transitions can't be published; retrying"
	reasonFetch      = "fetch failed; retrying"
	reasonStalled    = "no progress although there is lag"
	reasonTooLarge   = "a batch is too large to unpack; raise kgo.MaxDecompressBatchBytes in Config.Client, and start again"
	reasonHeldUp     = "waiting for an open transaction of a producer"
)

// vitals hold the data that a worker's health is computed from: the current conditions and
// a summary of the partitions. They outlive a run, and are safe for concurrent use.
type vitals struct {
	stalledAfter time.Duration
	fetchMemory  time.Duration // how long a failed fetch counts as trouble unless records arrive

	mu         sync.Mutex
	began      time.Time        // when Run was called; zero before
	left       health.Condition // why the worker is not a member of its group; does not hold if it is
	ended      health.Condition // Run has returned
	database   health.Condition // the current batch can't be written
	marksRead  health.Condition // marks can't be read
	marksWrite health.Condition // marks can't be written
	broker     health.Condition // no broker answers
	decoding   health.Condition // what decoding needs does not answer
	noTopic    health.Condition // a topic is missing; its partition is the name of the first one
	copying    health.Condition // dead letters can't be copied
	firing     health.Condition // timers can't be fired
	relaying   health.Condition // messages can't be published
	fetch      health.Condition // fetches return only errors
	fetchLast  time.Time        // when a fetch last failed
	progress   time.Time        // when records were last settled
	calm       time.Time        // when the last trouble ended
	behind     time.Time        // since when there are records to settle; zero if there are none
	seen       summary          // of the current run's partitions

	timers versioning.TimerCounts // when they were last counted
	relay  relay.Health           // when the worker last looked
}

func newVitals(cfg Config) *vitals {
	v := &vitals{stalledAfter: cfg.StalledAfter, fetchMemory: max(time.Minute, 2*cfg.RetryMax)}
	v.left.Begin(reasonNotRun, "", nil)
	return v
}

// change runs change under the lock. If that ends the last trouble, it stores the time.
func (v *vitals) change(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.isCalm()
	change()
	v.measure()
	if !before && v.isCalm() {
		v.calm = time.Now()
	}
}

func (v *vitals) isCalm() bool { return !v.left.Holds() && !v.trouble().Holds() }

func (v *vitals) started() {
	v.change(func() {
		v.began = time.Now()
		v.left.End()
		v.left.Begin(reasonNotJoined, "", nil)
	})
}

func (v *vitals) stopped(err error) {
	v.change(func() { v.ended.Begin(reasonStopped, "", err) })
}

// joined records that the worker is a member of its group.
func (v *vitals) joined() {
	v.change(func() {
		v.left.End()
		v.fetch.End()
	})
}

// lost records that the group has given up the worker.
func (v *vitals) lost() {
	v.change(func() { v.left.Begin(reasonLost, "", nil) })
}

// wrote records that the database has settled some records.
func (v *vitals) wrote() {
	v.change(func() {
		v.progress = time.Now()
		v.database.End()
	})
}

// settledSince reports whether the database has settled records since a time.
func (v *vitals) settledSince(t time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.progress.After(t)
}

func (v *vitals) failedToWrite(at string, err error) {
	v.change(func() { v.database.Begin(reasonDatabase, at, err) })
}

// finished ends the trouble of the current batch, whether it was settled or given up.
func (v *vitals) finished() {
	v.change(v.database.End)
}

// failedToReadMarks records that the marks can't be read. readMarks ends that: they were read,
// or the worker has given up the partitions that need them.
func (v *vitals) failedToReadMarks(err error) {
	v.change(func() { v.marksRead.Begin(reasonDatabase, "", err) })
}

func (v *vitals) readMarks() {
	v.change(v.marksRead.End)
}

// failedToWriteMarks records that the marks can't be written. wroteMarks ends that.
func (v *vitals) failedToWriteMarks(err error) {
	v.change(func() { v.marksWrite.Begin(reasonDatabase, "", err) })
}

func (v *vitals) wroteMarks() {
	v.change(v.marksWrite.End)
}

// startsOver records that the worker is about to join its group again.
func (v *vitals) startsOver() {
	v.change(func() {
		v.left.Begin(reasonStartsOver, "", nil)
		v.seen = summary{}
	})
}

// failedToDecode records that decoding is in trouble. decodes ends that: the record was decoded,
// or given up.
func (v *vitals) failedToDecode(at string, err error) {
	v.change(func() { v.decoding.Begin(reasonDecode, at, err) })
}

func (v *vitals) decodes() {
	v.change(v.decoding.End)
}

func (v *vitals) noBroker(err error) {
	v.change(func() { v.broker.Begin(reasonBroker, "", err) })
}

func (v *vitals) brokerAnswers() {
	v.change(v.broker.End)
}

// missTopics records which topics the broker does not know. No topics means that all exist.
func (v *vitals) missTopics(topics []string) {
	v.change(func() {
		if len(topics) == 0 {
			v.noTopic.End()
			return
		}
		var err error
		for _, topic := range topics {
			err = errors.Join(err, fmt.Errorf("topic %q: %w", topic, kerr.UnknownTopicOrPartition))
		}
		v.noTopic.Begin(reasonNoTopic, topics[0], err)
	})
}

// failedToCopy records that dead letters could not be copied. copied ends that: they were
// copied, or there are none.
func (v *vitals) failedToCopy(err error) {
	v.change(func() { v.copying.Begin(reasonCopy, "", err) })
}

func (v *vitals) copied() {
	v.change(v.copying.End)
}

// sawRelay records the state of the worker's relay.
func (v *vitals) sawRelay(h relay.Health) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.relay = h
}

// failedToRelay records that messages can't be published. relays ends that.
func (v *vitals) failedToRelay(topic string, err error) {
	v.change(func() { v.relaying.Begin(reasonRelay, topic, err) })
}

func (v *vitals) relays() {
	v.change(v.relaying.End)
}

func (v *vitals) failedToFetch(at string, err error) {
	v.change(func() {
		if time.Since(v.fetchLast) > v.fetchMemory {
			v.fetch.End()
		}
		v.fetchLast = time.Now()
		v.fetch.Begin(reasonFetch, at, err)
	})
}

// fetched records that records arrived.
func (v *vitals) fetched() {
	v.change(v.fetch.End)
}

// recount records what has changed about the partitions.
func (v *vitals) recount(now summary) {
	v.change(func() { v.seen = now })
}

// measure records since when there are records that the worker could settle.
func (v *vitals) measure() {
	switch {
	case v.seen.due == 0:
		v.behind = time.Time{}
	case v.behind.IsZero():
		v.behind = time.Now()
	}
}

// trouble returns what keeps the worker from making progress. If several conditions hold,
// it returns the one that causes the others.
func (v *vitals) trouble() health.Condition {
	idle := v.behind // since when there are records to settle and none was settled
	if v.progress.After(idle) && !idle.IsZero() {
		idle = v.progress
	}
	certain := health.First(v.database, v.marksWrite, v.marksRead, v.broker, v.decoding, v.noTopic, v.seen.tooLarge)
	switch {
	case certain.Holds():
		return certain
	case v.fetch.Holds() && time.Since(v.fetchLast) <= v.fetchMemory:
		return v.fetch
	case !idle.IsZero() && time.Since(idle) >= v.stalledAfter:
		return health.Condition{Since: idle, Reason: reasonStalled, At: v.seen.furthest.String()}
	case !v.seen.heldUp.since.IsZero() && time.Since(v.seen.heldUp.since) >= v.stalledAfter:
		return health.Condition{Since: v.seen.heldUp.since, Reason: reasonHeldUp, At: v.seen.heldUp.partition.String()}
	}
	return health.First(v.firing, v.relaying, v.copying)
}

func (v *vitals) health() Health {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := Health{LastProgress: v.progress, Lag: v.seen.lag, Behind: v.behind, Partitions: v.seen.partitions, Timers: v.timers, Relay: v.relay}
	trouble := v.trouble()
	switch {
	case v.ended.Holds():
		return h.being(Stopped, v.ended)
	case v.began.IsZero():
		return h.being(Starting, v.left)
	case trouble.Holds():
		return h.being(Troubled, trouble)
	case v.left.Holds():
		return h.being(Starting, v.left)
	}
	return h.being(Consuming, health.Condition{Since: v.calmSince()})
}

// calmSince returns since when the worker has had no trouble. A failed fetch stops
// counting after fetchMemory, without an event that would set calm.
func (v *vitals) calmSince() time.Time {
	if expired := v.fetchLast.Add(v.fetchMemory); v.fetch.Holds() && expired.After(v.calm) {
		return expired
	}
	return v.calm
}
