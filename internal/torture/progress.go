package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// worthTelling is from when on a stall is logged.
const worthTelling = 10 * time.Second

// progress watches how far each partition is settled.
type progress struct {
	log *slog.Logger

	mu         sync.Mutex
	partitions map[int32]*stretch
	down       int // servers
	longest    time.Duration
	where      int32
	records    int // settled, with those that were settled again
}

// A stretch is what of a partition is not settled yet.
type stretch struct {
	settled, end int64
	since        time.Time // when it began, or got shorter last
}

func newProgress(log *slog.Logger) *progress {
	return &progress{log: log, partitions: make(map[int32]*stretch)}
}

func (p *progress) at(partition int32) *stretch {
	if p.partitions[partition] == nil {
		p.partitions[partition] = &stretch{}
	}
	return p.partitions[partition]
}

func (p *progress) produced(partition int32, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(partition)
	if s.settled >= s.end {
		s.since = time.Now()
	}
	s.end = max(s.end, end)
}

func (p *progress) settled(worker string, r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records += r.Records
	for partition, next := range r.Next {
		if s := p.at(partition); next > s.settled {
			if stall := time.Since(s.since); p.down == 0 && stall > worthTelling && s.settled < s.end {
				p.log.Debug("a partition gets on again", "partition", partition, "offset", s.settled, "worker", worker, "stall", stall)
			}
			p.look(partition, s)
			s.settled, s.since = next, time.Now()
		}
	}
}

// outage notes that a server has gone, and returns what to call once it is back:
// a stall is the workers' only while both servers are there.
func (p *progress) outage() (over func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.down--
		for _, s := range p.partitions {
			s.since = time.Now()
		}
	}
}

// look takes notice of how long a partition has not got on.
func (p *progress) look(partition int32, s *stretch) {
	if p.down > 0 {
		return
	}
	if stall := time.Since(s.since); s.settled < s.end && stall > p.longest {
		p.longest, p.where = stall, partition
	}
}

// lag returns how many records are not settled.
func (p *progress) lag() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for partition, s := range p.partitions {
		p.look(partition, s)
		n += max(0, s.end-s.settled)
	}
	return n
}

// watch keeps looking until ctx is done: a partition that never gets on again is
// noticed too.
func (p *progress) watch(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.lag()
		case <-ctx.Done():
			return
		}
	}
}
