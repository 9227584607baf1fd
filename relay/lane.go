package relay

import (
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A lane is what a relay knows about a lane that it holds. Its fields are guarded by the
// mutex of its tenure.
//
// The packs of a lane are sent in their order, several at a time. If a message fails, the lane
// sends no new packs, and deletes none. Once all that is in flight has been answered, the tenure
// decides about the messages that failed: they are sent again, in their order, or become unsent
// messages.
type lane struct {
	id       int
	packs    []*pack // sent or acknowledged, and not deleted
	bytes    int     // of these packs
	inFlight int     // messages
	leaving  bool    // it is to be released
	session  int     // counts the sessions of tx: packs that were read in another one are stale
	full     bool    // the last look for packs had no room for all
	idle     chan struct{}

	failed  bool // a message has failed since the last decision
	retryAt time.Time
	wait    *backoff.ExponentialBackOff // between attempts; nil if the last one succeeded
	alone   *kgo.Client                 // sends one message at a time; nil if that is not needed

	tx *transactor // nil without transactions
}

// A pack is a pack that was sent.
type pack struct {
	versioning.Pack

	states []state
	left   int // messages that are not acknowledged
	sent   time.Time
}

// A state is the state of one message.
type state struct {
	is    stateOf
	err   error // of the last attempt, if it failed
	alone bool  // the last attempt was of this message alone
}

type stateOf uint8

const (
	inFlight stateOf = iota // or waiting, in a lane that sends one message at a time
	acked
	failed
)

func newPack(p versioning.Pack) *pack {
	return &pack{Pack: p, states: make([]state, len(p.Messages)), left: len(p.Messages), sent: time.Now()}
}

// maxLanePacks limits the packs of a lane that were read and are not deleted.
const maxLanePacks = 256

// wanted returns what to read of the lane; ok is false if nothing.
func (l *lane) wanted(most int) (w versioning.Wanted, ok bool) {
	l.full = l.bytes >= most || len(l.packs) >= maxLanePacks
	if l.full || l.leaving || l.isBlocked() || l.tx != nil && !l.tx.ready {
		return w, false
	}
	w = versioning.Wanted{Lane: l.id, Bytes: most - l.bytes}
	for _, p := range l.packs {
		w.Has = append(w.Has, p.ID)
	}
	return w, true
}

// isBlocked reports whether the lane must not send new packs.
func (l *lane) isBlocked() bool { return l.failed || l.wait != nil }

// isDecidable reports whether the lane has failed messages and everything is answered.
func (l *lane) isDecidable() bool { return l.failed && l.inFlight == 0 }

// isIdle reports whether nothing of the lane is in flight, and nothing is left to decide or to
// delete: the next relay would send again, behind later messages, what these have overtaken.
func (l *lane) isIdle() bool {
	if l.inFlight > 0 || l.tx != nil { // tx is busy until it has deleted what is published
		return l.inFlight == 0 && !l.tx.busy
	}
	if l.failed {
		return false
	}
	for _, p := range l.packs {
		if p.left == 0 {
			return false
		}
	}
	return true
}

// settle tells those who wait until the lane is idle.
func (l *lane) settle() {
	if l.leaving && l.idle != nil && l.isIdle() {
		close(l.idle)
		l.idle = nil
	}
}

// remove removes packs that are deleted.
func (l *lane) remove(gone map[*pack]bool) {
	kept := l.packs[:0]
	for _, p := range l.packs {
		if gone[p] {
			l.bytes -= p.Size
		} else {
			kept = append(kept, p)
		}
	}
	clear(l.packs[len(kept):])
	l.packs = kept
}

// isOvertaken reports whether a message that failed, at an index of a pack, was overtaken by a
// later one of its entity to the same topic.
func (l *lane) isOvertaken(of *pack, index int) bool {
	m, after := &of.Messages[index], false
	for _, p := range l.packs {
		for i := range p.Messages {
			switch {
			case p == of && i == index:
				after = true
			case after && p.states[i].is == acked && p.Messages[i].Entity == m.Entity && p.Messages[i].Topic == m.Topic:
				return true
			}
		}
	}
	return false
}
