package main

import (
	"maps"
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// once is the part of a judgement, and of the summary, about messages in transactions.
type once struct {
	Messages     int `json:"messages"`         // that readers of committed records see
	Transactions int `json:"transactions"`     // that published them
	AfterLoss    int `json:"again_after_loss"` // of these, sent again because the database has lost that they were sent
	Twice        int `json:"twice"`            // sent again without such a reason
	Disordered   int `json:"disordered"`
	Unexplained  int `json:"unexplained"` // of steps that do not exist, although the database has not lost them
}

func (o *once) add(more *once) {
	o.Messages += more.Messages
	o.Transactions += more.Transactions
	o.AfterLoss += more.AfterLoss
	o.Twice += more.Twice
	o.Disordered += more.Disordered
	o.Unexplained += more.Unexplained
}

// exactlyOnce checks the messages in transactions. Readers of committed records see each message
// exactly once, in the order of its entity's steps, as long as PostgreSQL keeps what it has
// committed. So what breaks that must be explained by a loss: see [relays.mayRepeat] and
// [evidence.hasLost]. That none is missing is checked by announcements.
func (j *judgement) exactlyOnce(e evidence) {
	due, relays := e.due(), newRelays(e.sent, e.losses)
	for _, lane := range relays.lanes {
		j.once.Transactions += len(lane)
	}
	before := make(map[announcement]*sentMessage)
	last := make(map[string]*sentMessage) // by entity
	for i := range e.sent {
		m := &e.sent[i]
		j.once.Messages++
		if !due[m.announcement] && !e.hasLost(m) {
			j.report(&j.once.Unexplained, "message %v is of no step, and the database has lost none meanwhile", m)
		}
		who := m.Machine + "/" + m.Entity
		first, previous := before[m.announcement], last[who]
		before[m.announcement], last[who] = m, m
		switch {
		case first != nil && relays.mayRepeat(first, m):
			j.once.AfterLoss++
		case first != nil:
			j.report(&j.once.Twice, "message %v is there again, although PostgreSQL kept that it was sent: %v", first, m)
		case previous != nil && m.Version <= previous.Version && !relays.mayRepeat(previous, m):
			j.report(&j.once.Disordered, "message %v comes after %v", m, previous)
		}
	}
}

// hasLost reports whether the step of a message may have been lost: a relay read the message
// before the old server was dead, and not before the time up to which nothing was lost.
func (e *evidence) hasLost(m *sentMessage) bool {
	return slices.ContainsFunc(e.losses, func(l loss) bool { return !m.asked.After(l.at) && !m.got.Before(l.kept) })
}

// relays know when the lanes have published what.
type relays struct {
	losses []loss
	lanes  [versioning.Lanes][]turn // in the order in which they began
}

// A turn is a transaction of a lane, or a session with several.
type turn struct {
	transaction

	from time.Time // when its first message was published
}

func newRelays(sent []sentMessage, losses []loss) *relays {
	r := &relays{losses: losses}
	var began [versioning.Lanes]map[transaction]time.Time
	for i := range sent {
		m := &sent[i]
		lane := m.lane()
		if began[lane] == nil {
			began[lane] = make(map[transaction]time.Time)
		}
		if from, ok := began[lane][m.transaction]; !ok || m.published.Before(from) {
			began[lane][m.transaction] = m.published
		}
	}
	for lane := range began {
		for _, tx := range slices.SortedFunc(maps.Keys(began[lane]), func(a, b transaction) int { return began[lane][a].Compare(began[lane][b]) }) {
			r.lanes[lane] = append(r.lanes[lane], turn{tx, began[lane][tx]})
		}
	}
	return r
}

func (m *sentMessage) lane() int {
	return versioning.LaneOf(versioning.Entity{Machine: m.Machine, Key: m.Entity})
}

// mayRepeat reports whether a message may be published after another one that is the same, or a
// later one of its entity: the first was read from a database that was lost, the second from the
// one that replaced it, and the deletion of the first from the outbox may be among what was lost.
func (r *relays) mayRepeat(first, second *sentMessage) bool {
	return slices.ContainsFunc(r.losses, func(l loss) bool {
		return !first.asked.After(l.at) && !second.got.Before(l.at) && !r.isDeleted(first, l.kept)
	})
}

// isDeleted reports whether a message was certainly deleted from the outbox at a time: a lane
// begins a transaction only when what the last one has published is durably deleted.
func (r *relays) isDeleted(m *sentMessage, at time.Time) bool {
	for _, next := range r.lanes[m.lane()] {
		if next.from.After(m.published) && next.transaction != m.transaction {
			return next.from.Add(precision).Before(at)
		}
	}
	return false
}

// precision is that of times in Kafka, which cuts off what is smaller.
const precision = time.Millisecond
