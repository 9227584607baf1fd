package consumer

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A partition is one of a topic.
type partition struct {
	topic string
	id    int32
}

func (p partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// A tenure is one stretch of time for which a partition is this worker's. What
// was polled in one tenure is not committed in another: in between the partition
// was someone else's, who may be further on. 0 is none.
type tenure uint64

// A life is what the worker knows of a partition, from its assignment until it is given
// up.
type life struct {
	tenure   tenure // 0: its topic was re-created, and it was not assigned again since
	position position
	reach    reach
	pending  milestone          // settled, and not known to be committed; its tenure is 0 if there is none
	marks    map[[16]byte]int64 // what they were when they were last read or written, by topic ID
}

// A position is the offset from which a partition goes on. The client resets an offset
// that the broker no longer has without a word; a record that was deleted before it was
// consumed must not go unnoticed.
type position struct {
	known bool
	next  int64
}

// advance moves the position past what was fetched. ok is false if that does not follow
// on what came before: the log's start has overtaken the worker, or its end has fallen
// behind it. Gaps between records are normal: compaction and transactions leave them.
func (p *position) advance(fetched kgo.FetchPartition) (expected int64, ok bool) {
	if !p.known {
		return 0, true
	}
	records := fetched.Records
	expected = p.next
	p.next = records[len(records)-1].Offset + 1
	return expected, records[0].Offset >= expected && fetched.LogStartOffset <= expected
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

// begins notes from where on the partition is consumed.
func (r *reach) begins(offset int64) {
	r.known, r.next, r.end, r.high = true, offset, offset, max(offset, r.high)
}

// polled notes records from offset first on, and where the log ends.
func (r *reach) polled(first int64, e ends) {
	if !r.known || first < r.next {
		r.known, r.next = true, first
	}
	r.end, r.high = e.stable, e.high // the batch before may not be settled yet
}

// settled notes how far the partition is settled.
func (r *reach) settled(next int64) {
	r.known, r.next, r.end, r.high = true, next, max(next, r.end), max(next, r.high)
}

// surveyed notes the bounds of the log. What was deleted before it was consumed is no
// lag.
func (r *reach) surveyed(e ends) {
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
}

// lag returns how many offsets are not settled.
func (r *reach) lag() int64 {
	if !r.known {
		return 0
	}
	return max(0, r.end-r.next, r.high-r.next)
}

// isHeldUp reports whether there is nothing to consume except what an open transaction
// hides, for longer than transactions take.
func (r *reach) isHeldUp(after time.Duration) bool {
	return r.known && !r.hidden.IsZero() && r.next >= r.stable && r.next < r.high && time.Since(r.hidden) >= after
}
