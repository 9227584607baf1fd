package consumer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The reasons why a worker is not Consuming.
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
	reasonFetch      = "fetch failed; retrying"
	reasonStalled    = "no progress although there is lag"
	reasonTooLarge   = "a batch is too large to unpack; raise kgo.MaxDecompressBatchBytes in Config.Client, and start again"
	reasonHeldUp     = "waiting for an open transaction of a producer"
)

// vitals are what a worker's health is told from: what keeps it from working, and its
// partitions. They outlive the run, and are safe for concurrent use.
type vitals struct {
	stalledAfter time.Duration
	fetchMemory  time.Duration // for which a failed fetch is trouble, unless records come

	mu         sync.Mutex // for the partitions too
	began      time.Time  // Run; zero before
	left       condition  // why the worker is no member of its group, while it is none
	ended      condition
	database   condition
	marks      condition // that can't be read or written
	broker     condition
	noTopic    condition // its partition is the name of the first topic that is missing
	copying    condition
	fetch      condition
	fetchLast  time.Time
	progress   time.Time
	calm       time.Time   // since when all has been well
	behind     time.Time   // since when there has been lag; zero while there is none
	partitions *partitions // of the last run
}

// A condition is a state of affairs that began at some time, for a reason.
type condition struct {
	since     time.Time // zero: it does not hold
	reason    string
	partition string
	err       error
}

// begin notes that a condition holds, and keeps the time at which it began.
func (c *condition) begin(reason, at string, err error) {
	if c.since.IsZero() {
		c.since = time.Now()
	}
	c.reason, c.partition, c.err = reason, at, err
}

func newVitals(cfg Config) *vitals {
	v := &vitals{stalledAfter: cfg.StalledAfter, fetchMemory: max(time.Minute, 2*cfg.RetryMax)}
	v.partitions = newPartitions(v)
	v.left.begin(reasonNotRun, "", nil)
	return v
}

// change runs a change of the vitals, and notes it if all is well from now on.
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

// lost notes that the group has gone on without the worker.
func (v *vitals) lost() {
	v.change(func() { v.left.begin(reasonLost, "", nil) })
}

// wrote notes that the database has settled some records.
func (v *vitals) wrote() {
	v.change(func() { v.progress, v.database = time.Now(), condition{} })
}

func (v *vitals) failedToWrite(at string, err error) {
	v.change(func() { v.database.begin(reasonDatabase, at, err) })
}

// freeHanded notes that no batch is in hand any more, whatever became of it.
func (v *vitals) freeHanded() {
	v.change(func() { v.database = condition{} })
}

// failedToMark notes that the marks can't be read or written, and marked that they can.
func (v *vitals) failedToMark(err error) {
	v.change(func() { v.marks.begin(reasonDatabase, "", err) })
}

func (v *vitals) marked() {
	v.change(func() { v.marks = condition{} })
}

// startsOver notes that the worker is about to join its group again.
func (v *vitals) startsOver() {
	v.change(func() {
		v.left.begin(reasonStartsOver, "", nil)
		v.partitions = newPartitions(v)
	})
}

func (v *vitals) noBroker(err error) {
	v.change(func() { v.broker.begin(reasonBroker, "", err) })
}

func (v *vitals) brokerAnswers() {
	v.change(func() { v.broker = condition{} })
}

// missTopics notes which topics the broker does not know: none, if all exist.
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

// failedToCopy notes that dead letters could not be copied, and copied that they could,
// or that there are none.
func (v *vitals) failedToCopy(err error) {
	v.change(func() { v.copying.begin(reasonCopy, "", err) })
}

func (v *vitals) copied() {
	v.change(func() { v.copying = condition{} })
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

// measure keeps the time at which the worker fell behind what it can consume.
func (v *vitals) measure() {
	due := v.partitions.due()
	switch {
	case due == 0:
		v.behind = time.Time{}
	case v.behind.IsZero():
		v.behind = time.Now()
	}
}

// trouble returns what keeps the worker from making progress, the cause before
// what it leads to.
func (v *vitals) trouble() condition {
	idle := v.behind // for how long there was something to do, and nothing done
	if v.progress.After(idle) && !idle.IsZero() {
		idle = v.progress
	}
	switch {
	case !v.database.since.IsZero():
		return v.database
	case !v.marks.since.IsZero():
		return v.marks
	case !v.broker.since.IsZero():
		return v.broker
	case !v.noTopic.since.IsZero():
		return v.noTopic
	case !v.partitions.tooLarge().since.IsZero():
		return v.partitions.tooLarge()
	case !v.fetch.since.IsZero() && time.Since(v.fetchLast) <= v.fetchMemory:
		return v.fetch
	case !idle.IsZero() && time.Since(idle) >= v.stalledAfter:
		return condition{since: idle, reason: reasonStalled, partition: v.partitions.furthest()}
	}
	if held, ok := v.partitions.heldUp(v.stalledAfter); ok {
		return held
	}
	if !v.copying.since.IsZero() {
		return v.copying
	}
	return condition{}
}

func (v *vitals) health() Health {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := Health{LastProgress: v.progress, Lag: v.partitions.lag(), Partitions: len(v.partitions.lives)}
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

// calmSince returns since when all has been well. A failed fetch is forgotten by
// the passing of time alone.
func (v *vitals) calmSince() time.Time {
	if forgotten := v.fetchLast.Add(v.fetchMemory); !v.fetch.since.IsZero() && forgotten.After(v.calm) {
		return forgotten
	}
	return v.calm
}

func (h Health) being(state HealthState, c condition) Health {
	h.State, h.Since, h.Reason, h.Partition, h.Err = state, c.since, c.reason, c.partition, c.err
	return h
}
