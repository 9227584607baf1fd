package consumer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

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
	began      time.Time // when Run was called; zero before
	left       condition // why the worker is not a member of its group; does not hold if it is
	ended      condition // Run has returned
	database   condition // the current batch can't be written
	marksRead  condition // marks can't be read
	marksWrite condition // marks can't be written
	broker     condition // no broker answers
	noTopic    condition // a topic is missing; its partition is the name of the first one
	copying    condition // dead letters can't be copied
	firing     condition // timers can't be fired
	relaying   condition // messages can't be published
	fetch      condition // fetches return only errors
	fetchLast  time.Time // when a fetch last failed
	progress   time.Time // when records were last settled
	calm       time.Time // when the last trouble ended
	behind     time.Time // since when there are records to settle; zero if there are none
	seen       summary   // of the current run's partitions

	timers versioning.TimerCounts // when they were last counted
}

func newVitals(cfg Config) *vitals {
	v := &vitals{stalledAfter: cfg.StalledAfter, fetchMemory: max(time.Minute, 2*cfg.RetryMax)}
	v.left.begin(reasonNotRun, "", nil)
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

func (v *vitals) isCalm() bool { return v.left.since.IsZero() && v.trouble().since.IsZero() }

func (v *vitals) started() {
	v.change(func() {
		v.began = time.Now()
		v.left = condition{}
		v.left.begin(reasonNotJoined, "", nil)
	})
}

func (v *vitals) stopped(err error) {
	v.change(func() { v.ended.begin(reasonStopped, "", err) })
}

// joined records that the worker is a member of its group.
func (v *vitals) joined() {
	v.change(func() { v.left, v.fetch = condition{}, condition{} })
}

// lost records that the group has given up the worker.
func (v *vitals) lost() {
	v.change(func() { v.left.begin(reasonLost, "", nil) })
}

// wrote records that the database has settled some records.
func (v *vitals) wrote() {
	v.change(func() { v.progress, v.database = time.Now(), condition{} })
}

// settledSince reports whether the database has settled records since a time.
func (v *vitals) settledSince(t time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.progress.After(t)
}

func (v *vitals) failedToWrite(at string, err error) {
	v.change(func() { v.database.begin(reasonDatabase, at, err) })
}

// finished ends the trouble of the current batch, whether it was settled or given up.
func (v *vitals) finished() {
	v.change(func() { v.database = condition{} })
}

// failedToReadMarks records that the marks can't be read. readMarks ends that: they were read,
// or the worker has given up the partitions that need them.
func (v *vitals) failedToReadMarks(err error) {
	v.change(func() { v.marksRead.begin(reasonDatabase, "", err) })
}

func (v *vitals) readMarks() {
	v.change(func() { v.marksRead = condition{} })
}

// failedToWriteMarks records that the marks can't be written. wroteMarks ends that.
func (v *vitals) failedToWriteMarks(err error) {
	v.change(func() { v.marksWrite.begin(reasonDatabase, "", err) })
}

func (v *vitals) wroteMarks() {
	v.change(func() { v.marksWrite = condition{} })
}

// startsOver records that the worker is about to join its group again.
func (v *vitals) startsOver() {
	v.change(func() {
		v.left.begin(reasonStartsOver, "", nil)
		v.seen = summary{}
	})
}

func (v *vitals) noBroker(err error) {
	v.change(func() { v.broker.begin(reasonBroker, "", err) })
}

func (v *vitals) brokerAnswers() {
	v.change(func() { v.broker = condition{} })
}

// missTopics records which topics the broker does not know. No topics means that all exist.
func (v *vitals) missTopics(topics []string) {
	v.change(func() {
		if len(topics) == 0 {
			v.noTopic = condition{}
			return
		}
		var err error
		for _, topic := range topics {
			err = errors.Join(err, fmt.Errorf("topic %q: %w", topic, kerr.UnknownTopicOrPartition))
		}
		v.noTopic.begin(reasonNoTopic, topics[0], err)
	})
}

// failedToCopy records that dead letters could not be copied. copied ends that: they were
// copied, or there are none.
func (v *vitals) failedToCopy(err error) {
	v.change(func() { v.copying.begin(reasonCopy, "", err) })
}

func (v *vitals) copied() {
	v.change(func() { v.copying = condition{} })
}

// failedToRelay records that messages can't be published. relays ends that.
func (v *vitals) failedToRelay(topic string, err error) {
	v.change(func() { v.relaying.begin(reasonRelay, topic, err) })
}

func (v *vitals) relays() {
	v.change(func() { v.relaying = condition{} })
}

func (v *vitals) failedToFetch(at string, err error) {
	v.change(func() {
		if time.Since(v.fetchLast) > v.fetchMemory {
			v.fetch = condition{}
		}
		v.fetchLast = time.Now()
		v.fetch.begin(reasonFetch, at, err)
	})
}

// fetched records that records arrived.
func (v *vitals) fetched() {
	v.change(func() { v.fetch = condition{} })
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
func (v *vitals) trouble() condition {
	idle := v.behind // since when there are records to settle and none was settled
	if v.progress.After(idle) && !idle.IsZero() {
		idle = v.progress
	}
	certain := firstOf(v.database, v.marksWrite, v.marksRead, v.broker, v.noTopic, v.seen.tooLarge)
	switch {
	case !certain.since.IsZero():
		return certain
	case !v.fetch.since.IsZero() && time.Since(v.fetchLast) <= v.fetchMemory:
		return v.fetch
	case !idle.IsZero() && time.Since(idle) >= v.stalledAfter:
		return condition{since: idle, reason: reasonStalled, partition: v.seen.furthest.String()}
	case !v.seen.heldUp.since.IsZero() && time.Since(v.seen.heldUp.since) >= v.stalledAfter:
		return condition{since: v.seen.heldUp.since, reason: reasonHeldUp, partition: v.seen.heldUp.partition.String()}
	}
	return firstOf(v.firing, v.relaying, v.copying)
}

func (v *vitals) health() Health {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := Health{LastProgress: v.progress, Lag: v.seen.lag, Partitions: v.seen.partitions, Timers: v.timers}
	trouble := v.trouble()
	switch {
	case !v.ended.since.IsZero():
		return h.being(Stopped, v.ended)
	case v.began.IsZero():
		return h.being(Starting, v.left)
	case !trouble.since.IsZero():
		return h.being(Troubled, trouble)
	case !v.left.since.IsZero():
		return h.being(Starting, v.left)
	}
	return h.being(Consuming, condition{since: v.calmSince()})
}

// calmSince returns since when the worker has had no trouble. A failed fetch stops
// counting after fetchMemory, without an event that would set calm.
func (v *vitals) calmSince() time.Time {
	if expired := v.fetchLast.Add(v.fetchMemory); !v.fetch.since.IsZero() && expired.After(v.calm) {
		return expired
	}
	return v.calm
}

func (h Health) being(state HealthState, c condition) Health {
	h.State, h.Since, h.Reason, h.Partition, h.Err = state, c.since, c.reason, c.partition, c.err
	return h
}
