package consumer

import (
	"time"

	"github.com/pawl-go/pawl/internal/health"
)

// A summary is what the worker's health needs to know about its partitions.
type summary struct {
	partitions int
	lag        int64
	due        int64 // offsets that can be consumed and are not settled
	furthest   partition
	heldUp     heldUp
	tooLarge   health.Condition // of the first partition that stopped at a batch that can't be unpacked
}

// A heldUp is the partition that an open transaction has held up the longest.
type heldUp struct {
	since     time.Time // zero: there is none
	partition partition
}

// summary returns the current summary. The caller must hold the lock.
func (p *partitions) summary() summary {
	s := summary{partitions: len(p.lives)}
	var most int64
	for at, l := range p.lives {
		r := &l.reach
		lag := r.lag()
		s.lag += lag
		s.due += r.due()
		if lag > most {
			most, s.furthest = lag, at
		}
		if r.isHeldUp() && isFirst(r.hidden, s.heldUp.since) {
			s.heldUp = heldUp{r.hidden, at}
		}
		if isFirst(r.tooLarge.Since, s.tooLarge.Since) {
			s.tooLarge = r.tooLarge
		}
	}
	return s
}

// isFirst reports whether a is a time before b. The zero time means never.
func isFirst(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || a.Before(b)) }

// isHeldUp reports whether open transactions hide everything that is left of a partition.
func (p *partitions) isHeldUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.summary().heldUp.since.IsZero()
}
