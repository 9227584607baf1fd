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

// vitals are what a worker's health is told from. They outlive the run, and are
// safe for concurrent use.
type vitals struct {
	stalledAfter time.Duration
	fetchMemory  time.Duration // for which a failed fetch is trouble, unless records come

	mu         sync.Mutex
	began      time.Time // Run; zero before
	left       condition // why the worker is no member of its group, while it is none
	ended      condition
	database   condition
	marks      condition // that can't be read or written
	broker     condition
	noTopic    condition // its partition is the name of the first topic that is missing
	copying    condition
	fetch      condition
	fetchLast  time.Time
	progress   time.Time
	calm       time.Time // since when all has been well
	behind     time.Time // since when there has been lag; zero while there is none
	partitions map[partition]reach
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

// A reach is how far a partition is settled, and how far it goes.
type reach struct {
	known     bool  // whether next is
	next, end int64 // end: of what can be consumed, by what the last fetch said
	high      int64 // the end of the log

	// hidden is since when an open transaction has begun at the same offset, stable;
	// zero while there is none.
	hidden time.Time
	stable int64

	tooLarge condition // a batch that can't be unpacked
}

// lag returns how many offsets are not settled.
func (r reach) lag() int64 {
	if !r.known {
		return 0
	}
	return max(0, r.end-r.next, r.high-r.next)
}

// isHeldUp reports whether there is nothing to consume but what an open transaction
// hides, for longer than transactions take.
func (r reach) isHeldUp(after time.Duration) bool {
	return r.known && !r.hidden.IsZero() && r.next >= r.stable && r.next < r.high && time.Since(r.hidden) >= after
}

func newVitals(cfg Config) *vitals {
	v := &vitals{
		stalledAfter: cfg.StalledAfter, fetchMemory: max(time.Minute, 2*cfg.RetryMax),
		partitions: make(map[partition]reach),
	}
	v.left.begin(reasonNotRun, "", nil)
	return v
}

// change runs a change of the vitals, and notes it if all is well from now on.
func (v *vitals) change(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.isCalm()
	change()
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

// joined notes partitions that the group has assigned: none, if there are more
// workers than partitions.
func (v *vitals) joined(partitions map[string][]int32) {
	v.change(func() {
		v.left, v.fetch = condition{}, condition{}
		for topic, ids := range partitions {
			for _, id := range ids {
				v.partitions[partition{topic, id}] = reach{}
			}
		}
		v.measure()
	})
}

func (v *vitals) gaveUp(partitions map[string][]int32) {
	v.change(func() {
		for topic, ids := range partitions {
			for _, id := range ids {
				delete(v.partitions, partition{topic, id})
			}
		}
		v.measure()
	})
}

// forgetTopic forgets how far a topic's partitions go: it was made anew.
func (v *vitals) forgetTopic(topic string) {
	v.change(func() {
		for at := range v.partitions {
			if at.topic == topic {
				v.partitions[at] = reach{}
			}
		}
		v.measure()
	})
}

// lost notes that the group has gone on without the worker.
func (v *vitals) lost() {
	v.change(func() { v.left.begin(reasonLost, "", nil) })
}

// begins notes from where on a partition is consumed.
func (v *vitals) begins(at partition, offset int64) {
	v.change(func() {
		if r, ok := v.partitions[at]; ok {
			r.known, r.next, r.end, r.high = true, offset, offset, max(offset, r.high)
			v.partitions[at] = r
			v.measure()
		}
	})
}

// polled notes what a partition has sent: records from offset first on, and
// where its log ends.
func (v *vitals) polled(at partition, first int64, e ends) {
	v.change(func() {
		v.fetch = condition{}
		if r, ok := v.partitions[at]; ok {
			if !r.known || first < r.next {
				r.known, r.next = true, first
			}
			r.end, r.high = e.stable, e.high // what came before may be in hand
			v.partitions[at] = r
			v.measure()
		}
	})
}

// surveyed notes the bounds of partitions. What was deleted before it was consumed is
// no lag.
func (v *vitals) surveyed(found map[partition]ends) {
	v.change(func() {
		for at, e := range found {
			r, ok := v.partitions[at]
			if !ok {
				continue
			}
			if e.start >= e.high && !r.known {
				r.known, r.end = true, e.high // there is nothing, wherever it begins
				r.next = e.high
			}
			r.next, r.high = max(r.next, e.start), e.high
			switch {
			case e.stable >= e.high:
				r.hidden = time.Time{}
			case r.hidden.IsZero() || r.stable != e.stable:
				r.hidden = time.Now()
			}
			r.stable = e.stable
			v.partitions[at] = r
		}
		v.measure()
	})
}

// cantUnpack notes that a partition stands still at a batch that is too large.
func (v *vitals) cantUnpack(at partition, err error) {
	v.change(func() {
		if r, ok := v.partitions[at]; ok {
			r.tooLarge.begin(reasonTooLarge, at.String(), err)
			v.partitions[at] = r
		}
	})
}

// isSettled reports whether a partition is settled up to an offset.
func (v *vitals) isSettled(at partition, end int64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.partitions[at]
	return ok && r.known && r.next >= end
}

// isHeldUp reports whether open transactions hide anything: for how long does not
// matter.
func (v *vitals) isHeldUp() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.heldUp(0)
	return ok
}

// heldUp returns the partition that an open transaction holds up for the longest time,
// if any is for some time.
func (v *vitals) heldUp(after time.Duration) (c condition, ok bool) {
	for at, r := range v.partitions {
		if r.isHeldUp(after) && (!ok || r.hidden.Before(c.since)) {
			c, ok = condition{since: r.hidden, reason: reasonHeldUp, partition: at.String()}, true
		}
	}
	return c, ok
}

// settled notes how far a partition is settled.
func (v *vitals) settled(at partition, next int64) {
	v.change(func() {
		if r, ok := v.partitions[at]; ok {
			r.known, r.next, r.end, r.high = true, next, max(next, r.end), max(next, r.high)
			v.partitions[at] = r
			v.measure()
		}
	})
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
		v.partitions = make(map[partition]reach)
		v.measure()
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
	var due int64
	for _, r := range v.partitions {
		due += max(0, r.end-r.next)
	}
	switch {
	case due == 0:
		v.behind = time.Time{}
	case v.behind.IsZero():
		v.behind = time.Now()
	}
}

func (v *vitals) lag() (lag int64) {
	for _, r := range v.partitions {
		lag += r.lag()
	}
	return lag
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
	case !v.tooLarge().since.IsZero():
		return v.tooLarge()
	case !v.fetch.since.IsZero() && time.Since(v.fetchLast) <= v.fetchMemory:
		return v.fetch
	case !idle.IsZero() && time.Since(idle) >= v.stalledAfter:
		return condition{since: idle, reason: reasonStalled, partition: v.furthest()}
	}
	if held, ok := v.heldUp(v.stalledAfter); ok {
		return held
	}
	if !v.copying.since.IsZero() {
		return v.copying
	}
	return condition{}
}

// tooLarge returns that there is a partition which stands still at a batch that can't
// be unpacked.
func (v *vitals) tooLarge() (c condition) {
	for _, r := range v.partitions {
		if s := r.tooLarge.since; !s.IsZero() && (c.since.IsZero() || s.Before(c.since)) {
			c = r.tooLarge
		}
	}
	return c
}

// furthest names the partition with the most lag.
func (v *vitals) furthest() (name string) {
	var most int64
	for at, r := range v.partitions {
		if lag := r.lag(); lag > most {
			most, name = lag, at.String()
		}
	}
	return name
}

func (v *vitals) health() Health {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := Health{LastProgress: v.progress, Lag: v.lag(), Partitions: len(v.partitions)}
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

func (p partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }
