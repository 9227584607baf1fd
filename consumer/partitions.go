package consumer

import (
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitions hold the lives of a run's partitions. The client's callbacks begin and end the
// lives; Run, the committer and the maintainer update them. After each change that the health
// depends on, they report a summary to the worker's vitals. They are safe for concurrent use.
type partitions struct {
	vitals *vitals

	mu     sync.Mutex
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
	p.change(func() {
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
	p.change(func() {
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
	p.change(func() {
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
	return p.tenuresIf(func(*life) bool { return true })
}

// tenuresIf returns the tenures of the worker's partitions for whose lives is returns true.
func (p *partitions) tenuresIf(is func(*life) bool) map[partition]tenure {
	p.mu.Lock()
	defer p.mu.Unlock()
	tenures := make(map[partition]tenure, len(p.lives))
	for at, l := range p.lives {
		if l.tenure != 0 && is(l) {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	if commit.MemberID != p.member {
		return errAnotherMember
	}
	return nil
}

// setCommitted records what the group had committed when it assigned partitions.
func (p *partitions) setCommitted(found map[partition]committed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, c := range found {
		if l := p.lives[at]; l != nil {
			l.committed = c
		}
	}
}

// committed returns what the group had committed when it assigned a partition.
func (p *partitions) committed(at partition) (c committed) {
	p.look(at, func(l *life) { c = l.committed })
	return c
}

// begin records at which offsets consumption of partitions begins.
func (p *partitions) begin(offsets map[partition]int64) {
	p.change(func() {
		for at, offset := range offsets {
			if l := p.lives[at]; l != nil {
				l.position = position{true, offset}
				l.reach.begins(offset)
			}
		}
	})
}

// A jump is a gap before the records that were fetched from a partition: they do not begin
// where they were expected to.
type jump struct {
	partition
	expected, found int64
}

// arrive records what was fetched for each of the spans, and sets their tenures to the current
// ones.
func (p *partitions) arrive(spans []span, fetched []kgo.FetchPartition) (jumps []jump) {
	p.change(func() {
		for i := range spans {
			s := &spans[i]
			l := p.lives[s.partition]
			if l == nil {
				continue
			}
			s.tenure = l.tenure
			first := fetched[i].Records[0].Offset
			if expected, ok := l.position.advance(fetched[i]); !ok {
				jumps = append(jumps, jump{s.partition, expected, first})
			}
			l.reach.polled(first, ends{stable: fetched[i].LastStableOffset, high: fetched[i].HighWatermark})
		}
	})
	return jumps
}

// advance records what a batch has settled, and which offsets to commit. It skips spans of an
// earlier tenure: another worker has owned the partition since, and may have settled more.
func (p *partitions) advance(b *batch) {
	p.change(func() {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	pending := make(progress)
	for at, l := range p.lives {
		if l.pending.tenure != 0 {
			pending[at] = l.pending
		}
	}
	return pending
}

// accepted records that the broker has committed m. If more was settled meanwhile, the
// partition stays pending.
func (p *partitions) accepted(at partition, m milestone) {
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
	p.change(func() {
		for at, e := range found {
			if l := p.during(at, asked[at]); l != nil {
				l.reach.surveyed(e)
			}
		}
	})
}

// cantUnpack records that a partition stops at a batch that is too large.
func (p *partitions) cantUnpack(at partition, err error) {
	p.change(func() {
		if l := p.lives[at]; l != nil {
			l.reach.tooLarge.Begin(reasonTooLarge, at.String(), err)
		}
	})
}

// during returns the life of a partition if its tenure is still the given one, or nil. The
// caller must hold the lock.
func (p *partitions) during(at partition, t tenure) *life {
	if l := p.lives[at]; l != nil && l.tenure == t {
		return l
	}
	return nil
}

// change runs change under the lock and reports the new summary. It visits all partitions, so
// a change should cover all that happens at once.
func (p *partitions) change(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.vitals.recount(p.summary())
}

// look runs see on the life of a partition if the worker owns it. see may change only what the
// health does not depend on.
func (p *partitions) look(at partition, see func(*life)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lives[at]; l != nil {
		see(l)
	}
}
