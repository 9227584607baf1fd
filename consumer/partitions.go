package consumer

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitions are those of one run: each has a life. The client's callbacks begin and end
// the lives; Run, the committer and the maintainer add to them. They share the lock of
// the worker's vitals, because its health is told from both.
type partitions struct {
	vitals *vitals

	member string // the ID of the group's member that this worker was at the last assignment
	last   tenure
	lives  map[partition]*life
}

func newPartitions(v *vitals) *partitions {
	return &partitions{vitals: v, lives: make(map[partition]*life)}
}

// assign begins the lives of partitions that the group has assigned to a member: none,
// if there are more workers than partitions.
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

// release ends the lives of partitions that are given up.
func (p *partitions) release(released map[string][]int32) {
	p.vitals.change(func() {
		for topic, ids := range released {
			for _, id := range ids {
				delete(p.lives, partition{topic, id})
			}
		}
	})
}

// forgetTopic forgets all about a topic's partitions: it was re-created. They count as
// the worker's until the client says what became of them, but their tenures have ended.
func (p *partitions) forgetTopic(topic string) {
	p.vitals.change(func() {
		for at := range p.lives {
			if at.topic == topic {
				p.lives[at] = new(life)
			}
		}
	})
}

// tenureOf returns the tenure of a partition, or 0 if it is not this worker's.
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

// errAnotherMember says that a commit was kept back. A member that the group has
// forgotten joins again as another one, and learns only then what it has lost meanwhile:
// franz-go (1.22.2) reports partitions as revoked, not as lost, that have been someone
// else's for a while, and makes a commit wait for the new membership.
var errAnotherMember = errors.New("the group has forgotten the member to which the partitions were assigned")

// checkMember fails for a commit of another member.
func (p *partitions) checkMember(commit *kmsg.OffsetCommitRequest) error {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	if commit.MemberID != p.member {
		return errAnotherMember
	}
	return nil
}

// begin notes from which offset a partition is consumed.
func (p *partitions) begin(at partition, offset int64) {
	p.amend(at, func(l *life) {
		l.position = position{true, offset}
		l.reach.begins(offset)
	})
}

// arrive notes what was fetched of a partition, and returns the tenure in which it
// came. ok is false if it does not begin where it was expected to.
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

// setMark notes what the mark of a partition is, of its topic with an ID.
func (p *partitions) setMark(at partition, topicID [16]byte, offset int64) {
	p.look(at, func(l *life) {
		if l.marks == nil {
			l.marks = make(map[[16]byte]int64)
		}
		l.marks[topicID] = offset
	})
}

// mark returns what the mark of a partition was; 0 if there was none.
func (p *partitions) mark(at partition, topicID [16]byte) (offset int64) {
	p.look(at, func(l *life) { offset = l.marks[topicID] })
	return offset
}

// survey notes the bounds of partitions.
func (p *partitions) survey(found map[partition]ends) {
	p.vitals.change(func() {
		for at, e := range found {
			if l := p.lives[at]; l != nil {
				l.reach.surveyed(e)
			}
		}
	})
}

// cantUnpack notes that a partition stands still at a batch that is too large.
func (p *partitions) cantUnpack(at partition, err error) {
	p.amend(at, func(l *life) { l.reach.tooLarge.begin(reasonTooLarge, at.String(), err) })
}

// isSettled reports whether a partition is settled up to an offset.
func (p *partitions) isSettled(at partition, end int64) (is bool) {
	p.look(at, func(l *life) { is = l.reach.known && l.reach.next >= end })
	return is
}

// isHeldUp reports whether open transactions hide anything, for however long.
func (p *partitions) isHeldUp() bool {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	_, ok := p.heldUp(0)
	return ok
}

// amend changes what the worker's health is told from of a partition, if it is the
// worker's.
func (p *partitions) amend(at partition, change func(*life)) {
	p.vitals.change(func() {
		if l := p.lives[at]; l != nil {
			change(l)
		}
	})
}

// look shows the life of a partition, if it is the worker's. It may change what the
// health does not depend on.
func (p *partitions) look(at partition, see func(*life)) {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	if l := p.lives[at]; l != nil {
		see(l)
	}
}

// The methods below are for the worker's health. Who calls them holds the lock.

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

// heldUp returns the partition that an open transaction holds up for the longest time,
// if any is for some time.
func (p *partitions) heldUp(after time.Duration) (c condition, ok bool) {
	for at, l := range p.lives {
		if since := l.reach.hidden; l.reach.isHeldUp(after) && (!ok || since.Before(c.since)) {
			c, ok = condition{since: since, reason: reasonHeldUp, partition: at.String()}, true
		}
	}
	return c, ok
}

// tooLarge returns that there is a partition which stands still at a batch that can't
// be unpacked.
func (p *partitions) tooLarge() (c condition) {
	for _, l := range p.lives {
		if s := l.reach.tooLarge.since; !s.IsZero() && (c.since.IsZero() || s.Before(c.since)) {
			c = l.reach.tooLarge
		}
	}
	return c
}

// furthest names the partition with the most lag.
func (p *partitions) furthest() (name string) {
	var most int64
	for at, l := range p.lives {
		if lag := l.reach.lag(); lag > most {
			most, name = lag, at.String()
		}
	}
	return name
}
