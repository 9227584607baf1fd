package consumer

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitions hold the lives of a run's partitions. The client's callbacks begin and end the
// lives; Run, the committer and the maintainer update them. They share the lock of the
// worker's vitals, because the health is computed from both.
type partitions struct {
	vitals *vitals

	member string // the worker's member ID at the last assignment
	last   tenure
	lives  map[partition]*life
}

func newPartitions(v *vitals) *partitions {
	return &partitions{vitals: v, lives: make(map[partition]*life)}
}

// assign begins the lives of partitions that the group has assigned to a member. There are
// none if there are more workers than partitions.
func (p *partitions) assign(member string, assigned map[string][]int32) {
	p.vitals.change(func() {
		p.vitals.left, p.vitals.fetch = condition{}, condition{}
		p.member = member
		for topic, ids := range assigned {
			for _, id := range ids {
				p.last++
				p.lives[partition{topic, id}] = &life{tenure: p.last}
			}
		}
	})
}

// release ends the lives of partitions that the worker gives up.
func (p *partitions) release(released map[string][]int32) {
	p.vitals.change(func() {
		for topic, ids := range released {
			for _, id := range ids {
				delete(p.lives, partition{topic, id})
			}
		}
	})
}

// forgetTopic ends the tenures of a re-created topic's partitions and forgets what is known
// about them. They count as the worker's until the client assigns them or takes them away.
func (p *partitions) forgetTopic(topic string) {
	p.vitals.change(func() {
		for at := range p.lives {
			if at.topic == topic {
				p.lives[at] = new(life)
			}
		}
	})
}

// tenureOf returns the tenure of a partition, or 0 if this worker does not own it.
func (p *partitions) tenureOf(at partition) (t tenure) {
	p.look(at, func(l *life) { t = l.tenure })
	return t
}

// tenures returns the tenures of the worker's partitions.
func (p *partitions) tenures() map[partition]tenure {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	tenures := make(map[partition]tenure, len(p.lives))
	for at, l := range p.lives {
		if l.tenure != 0 {
			tenures[at] = l.tenure
		}
	}
	return tenures
}

// errAnotherMember reports that a commit was held back. A worker that the group has given up
// joins again as another member, and learns only then which partitions it has lost. Until
// then it must not commit: franz-go (1.22.2) delays a commit until the worker has joined, and
// reports partitions as revoked, not as lost, even if another worker has owned them meanwhile.
var errAnotherMember = errors.New("the worker has joined the group as another member since its partitions were assigned")

// checkMember returns an error if a commit's member is not the one to which the partitions
// were assigned.
func (p *partitions) checkMember(commit *kmsg.OffsetCommitRequest) error {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	if commit.MemberID != p.member {
		return errAnotherMember
	}
	return nil
}

// begin records at which offset consumption of a partition begins.
func (p *partitions) begin(at partition, offset int64) {
	p.change(at, func(l *life) {
		l.position = position{true, offset}
		l.reach.begins(offset)
	})
}

// arrive records what was fetched from a partition, and returns the current tenure. ok is
// false if the records do not begin where they were expected to.
func (p *partitions) arrive(at partition, fetched kgo.FetchPartition) (t tenure, expected int64, ok bool) {
	ok = true
	p.vitals.change(func() {
		p.vitals.fetch = condition{}
		if l := p.lives[at]; l != nil {
			t = l.tenure
			expected, ok = l.position.advance(fetched)
			l.reach.polled(fetched.Records[0].Offset, ends{stable: fetched.LastStableOffset, high: fetched.HighWatermark})
		}
	})
	return t, expected, ok
}

// advance records what a batch has settled, and which offsets to commit. It skips spans of an
// earlier tenure: another worker has owned the partition since, and may have settled more.
func (p *partitions) advance(b *batch) {
	p.vitals.change(func() {
		stuck := make(map[partition]bool)
		for _, s := range b.spans {
			if stuck[s.partition] {
				continue
			}
			settled := b.settled(s)
			stuck[s.partition] = settled < s.end
			if l := p.during(s.partition, s.tenure); l != nil && settled > s.first {
				l.settled(s, b.kafka[settled-1])
			}
		}
	})
}

// pending returns, for the worker's partitions, what is settled and not known to be committed.
func (p *partitions) pending() progress {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	pending := make(progress)
	for at, l := range p.lives {
		if l.pending.tenure != 0 {
			pending[at] = l.pending
		}
	}
	return pending
}

// committed records that the broker has committed m. If more was settled meanwhile, the
// partition stays pending.
func (p *partitions) committed(at partition, m milestone) {
	p.look(at, func(l *life) {
		if l.pending == m {
			l.pending = milestone{}
		}
	})
}

// setMark records the mark of a partition of the topic with the given ID.
func (p *partitions) setMark(at partition, topicID [16]byte, offset int64) {
	p.look(at, func(l *life) {
		if l.marks == nil {
			l.marks = make(map[[16]byte]int64)
		}
		l.marks[topicID] = offset
	})
}

// mark returns the mark of a partition, as last read or written; 0 if there is none.
func (p *partitions) mark(at partition, topicID [16]byte) (offset int64) {
	p.look(at, func(l *life) { offset = l.marks[topicID] })
	return offset
}

// survey records the bounds of the partitions' logs. It leaves out partitions whose tenure is
// no longer the one in which the broker was asked: the topic may have been re-created.
func (p *partitions) survey(asked map[partition]tenure, found map[partition]ends) {
	p.vitals.change(func() {
		for at, e := range found {
			if l := p.during(at, asked[at]); l != nil {
				l.reach.surveyed(e)
			}
		}
	})
}

// cantUnpack records that a partition stops at a batch that is too large.
func (p *partitions) cantUnpack(at partition, err error) {
	p.change(at, func(l *life) { l.reach.tooLarge.begin(reasonTooLarge, at.String(), err) })
}

// isSettled reports whether a partition is settled up to an offset.
func (p *partitions) isSettled(at partition, end int64) (is bool) {
	p.look(at, func(l *life) { is = l.reach.known && l.reach.next >= end })
	return is
}

// isHeldUp reports whether open transactions hide everything that is left of a partition, no
// matter since when.
func (p *partitions) isHeldUp() bool {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	_, ok := p.heldUp(0)
	return ok
}

// during returns the life of a partition if its tenure is still the given one, or nil. The
// caller must hold the lock.
func (p *partitions) during(at partition, t tenure) *life {
	if l := p.lives[at]; l != nil && l.tenure == t {
		return l
	}
	return nil
}

// change runs change on the life of a partition if the worker owns it, and updates what the
// worker's health is computed from.
func (p *partitions) change(at partition, change func(*life)) {
	p.vitals.change(func() {
		if l := p.lives[at]; l != nil {
			change(l)
		}
	})
}

// look runs see on the life of a partition if the worker owns it. see may change only what the
// health does not depend on.
func (p *partitions) look(at partition, see func(*life)) {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	if l := p.lives[at]; l != nil {
		see(l)
	}
}

// The methods below are for the worker's health. The caller must hold the lock.

// due returns how many offsets can be consumed and are not settled.
func (p *partitions) due() (n int64) {
	for _, l := range p.lives {
		n += max(0, l.reach.end-l.reach.next)
	}
	return n
}

func (p *partitions) lag() (n int64) {
	for _, l := range p.lives {
		n += l.reach.lag()
	}
	return n
}

// heldUp returns the condition of the partition that an open transaction has held up the
// longest. ok is false if none has been held up for at least the given time.
func (p *partitions) heldUp(after time.Duration) (c condition, ok bool) {
	for at, l := range p.lives {
		if since := l.reach.hidden; l.reach.isHeldUp(after) && (!ok || since.Before(c.since)) {
			c, ok = condition{since: since, reason: reasonHeldUp, partition: at.String()}, true
		}
	}
	return c, ok
}

// tooLarge returns the condition of the first partition that stopped at a batch that can't be
// unpacked.
func (p *partitions) tooLarge() (c condition) {
	for _, l := range p.lives {
		if s := l.reach.tooLarge.since; !s.IsZero() && (c.since.IsZero() || s.Before(c.since)) {
			c = l.reach.tooLarge
		}
	}
	return c
}

// furthest returns the name of the partition with the most lag.
func (p *partitions) furthest() (name string) {
	var most int64
	for at, l := range p.lives {
		if lag := l.reach.lag(); lag > most {
			most, name = lag, at.String()
		}
	}
	return name
}
