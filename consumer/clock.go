package consumer

import (
	"context"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// pauseFactor times Config.SweepEvery is the longest step of the clock that counts toward
// the age of parked records. The factor leaves time for the sweeps of several workers and
// for batches between two steps.
const pauseFactor = 3

// A clock finds out until when the worker's partitions are read, for the age of parked
// records. A sweep returns the database's time; after it, the clock asks for the ends of
// the partitions. Once a partition is settled up to its end, everything that it held at
// that time is read.
type clock struct{ *shared }

// A sight is the end of a partition, as the clock saw it after a sweep.
type sight struct {
	topicID [16]byte  // zero: not known yet
	at      time.Time // the database's time before the clock asked for the end; zero: it has to ask
	end     int64
	until   time.Time // the time of the last sight that was reached; zero if none was
}

// reached updates the sight of a partition that is settled up to its end.
func (s *sight) reached(r *reach) {
	if !s.at.IsZero() && r.isSettled(s.end) {
		s.until, s.at = s.at, time.Time{}
	}
}

// reading returns how far the worker's partitions are read. It leaves out partitions whose
// topic ID is not known yet.
func (c *clock) reading() versioning.Reading {
	return versioning.Reading{Pause: pauseFactor * c.cfg.SweepEvery, Partitions: c.partitions.read()}
}

// update finds out the topic IDs of partitions that are new to the worker.
func (c *clock) update(ctx context.Context) error {
	unnamed := c.partitions.tenuresIf(func(l *life) bool { return l.sight.topicID == [16]byte{} })
	if len(unnamed) == 0 {
		return nil
	}
	ids, err := c.broker().topicIDs(ctx)
	if err != nil {
		return err
	}
	c.partitions.name(unnamed, ids)
	return nil
}

// look asks for the ends of the partitions after a sweep. at is the database's time of the
// sweep. A partition gets a new end only if it has reached its last one.
func (c *clock) look(ctx context.Context, at time.Time) error {
	owned := c.partitions.tenures()
	found, err := c.broker().ends(ctx, owned)
	if err != nil {
		return err
	}
	c.partitions.survey(owned, found)
	c.partitions.sight(owned, found, at)
	return nil
}

// name records the topic IDs of partitions, for which the broker was asked in the given tenures.
func (p *partitions) name(asked map[partition]tenure, topicIDs map[string][16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, t := range asked {
		if l := p.during(at, t); l != nil {
			l.sight.topicID = topicIDs[at.topic]
		}
	}
}

// sight records the ends that the clock saw after a sweep, whose time was at.
func (p *partitions) sight(asked map[partition]tenure, found map[partition]ends, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for of, e := range found {
		if l := p.during(of, asked[of]); l != nil && l.sight.at.IsZero() {
			l.sight.at, l.sight.end = at, e.high
		}
	}
}

// read returns until when the partitions are read whose topic IDs are known.
func (p *partitions) read() (read []versioning.ReadPartition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, l := range p.lives {
		if l.tenure != 0 && l.sight.topicID != [16]byte{} {
			l.sight.reached(&l.reach)
			read = append(read, versioning.ReadPartition{TopicID: l.sight.topicID, Partition: at.id, Until: l.sight.until})
		}
	}
	return read
}
