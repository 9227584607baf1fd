package consumer

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/health"
)

// A partition identifies a partition of a topic.
type partition struct {
	topic string
	id    int32
}

func (p partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// A tenure identifies one time for which the worker owns a partition without interruption.
// The worker does not commit in one tenure what it polled in another, because another
// worker owned the partition in between and may have committed more. 0 means none.
type tenure uint64

// A life is what the worker knows about a partition, from its assignment until the worker
// gives it up.
type life struct {
	tenure    tenure    // 0: the topic was re-created, and the partition not assigned again yet
	committed committed // by the group, when it assigned the partition
	position  position
	reach     reach
	pending   milestone          // settled, and not known to be committed; its tenure is 0 if there is none
	marks     map[[16]byte]int64 // as last read or written, by topic ID
	sight     sight
}

// settled records that a span of this tenure is settled up to and including the record last.
func (l *life) settled(s span, last *kgo.Record) {
	next := last.Offset + 1
	l.reach.settled(next)
	if l.tenure != 0 {
		l.pending = milestone{kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: next}, s.topicID, l.tenure}
	}
}

// A milestone is how far a partition is settled, for a commit.
type milestone struct {
	// next is the offset of the next record to consume.
	next    kgo.EpochOffset
	topicID [16]byte
	tenure  tenure
}

// A position is the offset at which the next fetch of a partition should begin. It is how
// the worker notices records that were deleted before it consumed them: if the broker no
// longer has an offset, the client resets it without an error.
type position struct {
	known bool
	next  int64
}

// advance moves the position past the fetched records. ok is false if they do not continue
// the ones before: the start of the log is beyond the position, or its end is before it.
// Gaps between records are normal: compaction and transactions leave them.
func (p *position) advance(fetched kgo.FetchPartition) (expected int64, ok bool) {
	if !p.known {
		return 0, true
	}
	records := fetched.Records
	expected = p.next
	p.next = records[len(records)-1].Offset + 1
	return expected, records[0].Offset >= expected && fetched.LogStartOffset <= expected
}

// A reach is how far a partition is settled, and where its log ends.
type reach struct {
	known bool  // whether next is set
	next  int64 // the first offset that is not settled
	end   int64 // the end of what can be consumed, according to the last fetch
	high  int64 // the end of the log

	// stable is where the first open transaction begins, and hidden since when the
	// worker has seen it begin there. hidden is zero if there is no open transaction.
	hidden time.Time
	stable int64

	tooLarge health.Condition // a batch can't be unpacked
}

// begins records at which offset consumption of the partition begins.
func (r *reach) begins(offset int64) {
	r.known, r.next, r.end, r.high = true, offset, offset, max(offset, r.high)
}

// polled stores that records were polled from offset first on, and where the log ends.
func (r *reach) polled(first int64, e ends) {
	if !r.known || first < r.next { // if first is higher, the previous batch may not be settled yet
		r.known, r.next = true, first
	}
	r.end, r.high = e.stable, e.high
}

// settled records how far the partition is settled.
func (r *reach) settled(next int64) {
	r.known, r.next, r.end, r.high = true, next, max(next, r.end), max(next, r.high)
}

// surveyed records the ends of the log. Records that were deleted before they were consumed
// do not count as lag.
func (r *reach) surveyed(e ends) {
	if e.start >= e.high && !r.known {
		r.known, r.end = true, e.high // the log is empty, so where it begins does not matter
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
}

// lag returns how many offsets are not settled.
func (r *reach) lag() int64 {
	if !r.known {
		return 0
	}
	return max(0, r.end-r.next, r.high-r.next)
}

// due returns how many offsets can be consumed and are not settled.
func (r *reach) due() int64 { return max(0, r.end-r.next) }

// isSettled reports whether the partition is settled up to an offset.
func (r *reach) isSettled(end int64) bool { return r.known && r.next >= end }

// isHeldUp reports whether an open transaction hides everything that is left to consume.
func (r *reach) isHeldUp() bool {
	return r.known && !r.hidden.IsZero() && r.next >= r.stable && r.next < r.high
}
