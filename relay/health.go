package relay

import (
	"sync"
	"time"
)

// HealthState is the state of a relay.
type HealthState string

const (
	Starting   HealthState = "starting"   // Run was not called, or the relay holds no lanes yet
	Publishing HealthState = "publishing" // messages are published as they are committed
	Troubled   HealthState = "troubled"   // some messages are not; the relay retries
	Stopped    HealthState = "stopped"    // Run has returned
)

// Health is what a relay knows about itself at one moment, without asking the broker or the
// database.
type Health struct {
	State HealthState
	Since time.Time // when State began; the zero time while Publishing without any trouble before

	// Reason says in a few words why a relay is not Publishing. Empty if it is.
	Reason string

	// Topic is the topic in trouble. Empty if the trouble does not concern a topic.
	Topic string

	// Err is the last error of the trouble, or the one that Run returned. nil if there is none.
	Err error

	Lanes    int       // how many lanes the relay holds; 0 is no trouble if others hold them all
	InFlight int       // messages that were sent and are not acknowledged
	Oldest   time.Time // when the oldest of them was sent; zero if there is none

	// What the relay has done since it was created.
	Published int64 // messages that were acknowledged
	Refused   int64 // messages that became unsent messages
}

// Ready reports whether the relay publishes messages as they are committed.
func (h Health) Ready() bool { return h.State == Publishing }

// Health.Reason of a relay that is not Publishing.
const (
	reasonNotRun   = "Run was not called"
	reasonNoLanes  = "holds no lanes of the outbox yet"
	reasonStopped  = "Run has returned"
	reasonDatabase = "database in trouble; retrying"
	reasonTopic    = "topic does not exist or is not writable; retrying"
	reasonKafka    = "broker refuses messages; retrying"
	reasonStalled  = "messages are not acknowledged; retrying"
)

// A condition is something that keeps messages from being published.
type condition struct {
	since  time.Time // zero: the condition does not hold
	reason string
	topic  string
	err    error
}

func (c *condition) begin(reason, topic string, err error) {
	if c.since.IsZero() {
		c.since = time.Now()
	}
	c.reason, c.topic, c.err = reason, topic, err
}

// vitals hold what a relay's health is computed from. They are safe for concurrent use.
type vitals struct {
	mu                 sync.Mutex
	ran                bool
	reading, deleting  condition     // the outbox can't be read, or deleted from
	holding            condition     // no lanes can be held
	topic              condition     // a topic refuses messages
	topicLast          time.Time     // when it last did
	topicMemory        time.Duration // how long that counts as trouble
	kafka              condition     // other errors of a broker
	stalled            condition     // messages are in flight for long
	ended              condition
	calm               time.Time // when the last trouble ended
	published, refused int64
}

func (v *vitals) change(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.trouble().since.IsZero()
	change()
	if !before && v.trouble().since.IsZero() {
		v.calm = time.Now()
	}
}

func (v *vitals) trouble() condition {
	for _, c := range []*condition{&v.holding, &v.reading, &v.deleting, &v.topic, &v.kafka, &v.stalled} {
		if c.since.IsZero() || c == &v.topic && time.Since(v.topicLast) > v.topicMemory {
			continue
		}
		return *c
	}
	return condition{}
}

// topicFailed records that a topic refuses messages.
func (v *vitals) topicFailed(topic string, err error) {
	v.change(func() {
		if time.Since(v.topicLast) > v.topicMemory {
			v.topic = condition{}
		}
		v.topicLast = time.Now()
		v.topic.begin(reasonTopic, topic, err)
	})
}

// failed begins a condition, and over ends it.
func (v *vitals) failed(c *condition, reason, topic string, err error) {
	v.change(func() { c.begin(reason, topic, err) })
}

func (v *vitals) over(c *condition) {
	v.change(func() { *c = condition{} })
}

func (v *vitals) count(published, refused int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.published += int64(published)
	v.refused += int64(refused)
}

// Health reports the relay's state. It asks neither the broker nor the database. Any goroutine
// may call it at any time.
func (r *Relay) Health() Health {
	h := Health{}
	if t := r.tenure.Load(); t != nil {
		h.Lanes, h.InFlight, h.Oldest = t.load()
	}
	v := &r.vitals
	v.mu.Lock()
	defer v.mu.Unlock()
	h.Published, h.Refused = v.published, v.refused
	be := func(state HealthState, c condition) Health {
		h.State, h.Since, h.Reason, h.Topic, h.Err = state, c.since, c.reason, c.topic, c.err
		return h
	}
	trouble := v.trouble()
	switch {
	case !v.ended.since.IsZero():
		return be(Stopped, v.ended)
	case !v.ran:
		return be(Starting, condition{reason: reasonNotRun})
	case !trouble.since.IsZero():
		return be(Troubled, trouble)
	case r.tenure.Load() == nil:
		return be(Starting, condition{reason: reasonNoLanes})
	}
	return be(Publishing, condition{since: v.calm})
}
