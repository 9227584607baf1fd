package relay

import (
	"sync"
	"time"

	"github.com/pawl-go/pawl/internal/health"
)

// HealthState is the state of a relay.
type HealthState string

const (
	Starting   HealthState = "starting"   // Run was not called, or is not connected yet
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
	reasonNotRun       = "Run was not called"
	reasonNotConnected = "not connected to the database yet"
	reasonStopped      = "Run has returned"
	reasonDatabase     = "database in trouble; retrying"
	reasonTopic        = "topic does not exist or is not writable; retrying"
	reasonKafka        = "broker refuses messages; retrying"
	reasonStalled      = "messages are not acknowledged; retrying"
)

// vitals hold what a relay's health is computed from. They are safe for concurrent use.
type vitals struct {
	mu                 sync.Mutex
	ran                bool
	connected          bool             // lanes could be held at least once
	reading, deleting  health.Condition // the outbox can't be read, or deleted from
	holding            health.Condition // no lanes can be held
	topic              health.Condition // a topic refuses messages
	topicLast          time.Time        // when it last did
	topicMemory        time.Duration    // how long that counts as trouble
	kafka              health.Condition // other errors of a broker
	stalled            health.Condition // messages are in flight for long
	ended              health.Condition
	calm               time.Time // when the last trouble ended
	published, refused int64
}

func (v *vitals) change(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.trouble().Holds()
	change()
	if before && !v.trouble().Holds() {
		v.calm = time.Now()
	}
}

func (v *vitals) trouble() health.Condition {
	for _, c := range []*health.Condition{&v.holding, &v.reading, &v.deleting, &v.topic, &v.kafka, &v.stalled} {
		if !c.Holds() || c == &v.topic && time.Since(v.topicLast) > v.topicMemory {
			continue
		}
		return *c
	}
	return health.Condition{}
}

// joined records that the relay shares the lanes with others. The troubles with lanes that it
// has lost are over.
func (v *vitals) joined() {
	v.change(func() {
		v.connected = true
		for _, c := range []*health.Condition{&v.holding, &v.reading, &v.deleting, &v.kafka, &v.stalled} {
			c.End()
		}
	})
}

// released records that a lane was released. Its troubles are over; if other lanes have some,
// they say so again at their next attempt.
func (v *vitals) released() {
	v.change(func() {
		v.deleting.End()
		v.kafka.End()
	})
}

// topicFailed records that a topic refuses messages.
func (v *vitals) topicFailed(topic string, err error) {
	v.change(func() {
		if time.Since(v.topicLast) > v.topicMemory {
			v.topic.End()
		}
		v.topicLast = time.Now()
		v.topic.Begin(reasonTopic, topic, err)
	})
}

// failed begins a condition, and over ends it.
func (v *vitals) failed(c *health.Condition, reason, topic string, err error) {
	v.change(func() { c.Begin(reason, topic, err) })
}

func (v *vitals) over(c *health.Condition) {
	v.change(c.End)
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
	be := func(state HealthState, c health.Condition) Health {
		h.State, h.Since, h.Reason, h.Topic, h.Err = state, c.Since, c.Reason, c.At, c.Err
		return h
	}
	trouble := v.trouble()
	switch {
	case v.ended.Holds():
		return be(Stopped, v.ended)
	case !v.ran:
		return be(Starting, health.Condition{Reason: reasonNotRun})
	case trouble.Holds():
		return be(Troubled, trouble)
	case !v.connected:
		return be(Starting, health.Condition{Reason: reasonNotConnected})
	}
	return be(Publishing, health.Condition{Since: v.calm})
}
