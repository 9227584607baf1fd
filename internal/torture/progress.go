package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// minLoggedStall is the length from which a stall is logged.
const minLoggedStall = 10 * time.Second

// progress tracks up to where each partition is settled.
type progress struct {
	log *slog.Logger

	mu         sync.Mutex
	partitions map[int32]*stretch
	down       int // number of servers that are down
	longest    time.Duration
	where      int32
	records    int // number of settled records, including those settled again
	paused     time.Duration
}

// A stretch is the unsettled part of a partition.
type stretch struct {
	settled, end int64
	since        time.Time // when it began, or last became shorter
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
			if stall := time.Since(s.since); p.down == 0 && stall > minLoggedStall && s.settled < s.end {
				p.log.Debug("a partition makes progress again", "partition", partition, "offset", s.settled, "worker", worker, "stall", stall)
			}
			p.look(partition, s)
			s.settled, s.since = next, time.Now()
		}
	}
}

// outage records that a server is down and returns the function to call when it
// is back. A stall counts against the workers only while both servers are up.
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

// look records how long a partition has not made progress.
func (p *progress) look(partition int32, s *stretch) {
	if p.down > 0 {
		return
	}
	if stall := time.Since(s.since); s.settled < s.end && stall > p.longest {
		p.longest, p.where = stall, partition
	}
}

// lag returns the number of unsettled records.
func (p *progress) lag() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for partition, s := range p.partitions {
		p.look(partition, s)
		n += max(0, s.end-s.settled)
	}
	return n
}

// pause records that nothing was produced for some time because too much was unsettled.
func (p *progress) pause(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused += d
}

// watch checks all partitions until ctx is done, so that it notices a partition
// that never makes progress again.
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
