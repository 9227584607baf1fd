package consumer

import (
	"context"
	"maps"
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
// that time is read. A clock belongs to the goroutine that sweeps.
type clock struct {
	*shared

	seen map[partition]sight
}

// A sight is the end of a partition, as the clock saw it after a sweep.
type sight struct {
	tenure  tenure
	topicID [16]byte
	at      time.Time // the database's time before the clock asked for the end; zero: it has to ask
	end     int64
	until   time.Time // the time of the last sight that was reached; zero if none was
}

// reading returns how far the worker's partitions are read. It leaves out partitions whose
// topic ID is not known yet.
func (c *clock) reading() versioning.Reading {
	read := versioning.Reading{Pause: pauseFactor * c.cfg.SweepEvery}
	for at, s := range c.seen {
		if c.partitions.tenureOf(at) != s.tenure {
			continue // the partition's new owner reports it
		}
		if !s.at.IsZero() && c.partitions.isSettled(at, s.end) {
			s.until, s.at = s.at, time.Time{}
			c.seen[at] = s
		}
		read.Partitions = append(read.Partitions, versioning.ReadPartition{
			TopicID: s.topicID, Partition: at.id, Until: s.until,
		})
	}
	return read
}

// update adds partitions that are new to the worker and removes those that it no longer owns.
func (c *clock) update(ctx context.Context) error {
	owned := c.partitions.tenures()
	maps.DeleteFunc(c.seen, func(at partition, s sight) bool { return owned[at] != s.tenure })
	if len(c.seen) == len(owned) {
		return nil
	}
	ids, err := c.broker().topicIDs(ctx)
	if err != nil {
		return err
	}
	for at, tenure := range owned {
		id, ok := ids[at.topic]
		if _, known := c.seen[at]; ok && !known {
			c.seen[at] = sight{tenure: tenure, topicID: id}
		}
	}
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
	for p, s := range c.seen {
		if e, ok := found[p]; ok && s.at.IsZero() {
			s.at, s.end = at, e.high
			c.seen[p] = s
		}
	}
	return nil
}
