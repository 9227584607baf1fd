package consumer

import (
	"context"
	"maps"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// pauseFactor is how many times as long as the time between two sweeps a step of the
// clock may be to count: the sweeps of several workers, and batches, come in between.
const pauseFactor = 3

// A clock knows until when the worker's partitions are read, for the age of parked
// records. After a sweep, which tells the database's time, it asks for the ends of the
// partitions. Once one is settled up to there, all is read that it held at that time.
// It belongs to the goroutine of the maintainer.
type clock struct {
	run  *run
	seen map[partition]sight
}

// A sight is what was seen of a partition after a sweep.
type sight struct {
	tenure  tenure
	topicID [16]byte
	at      time.Time // of the database, before the end was asked for
	end     int64
	until   time.Time // of an earlier sight that was reached; zero if none was
}

// reading returns how far the worker's partitions are read. Partitions of which the
// topic is not known yet are left out.
func (c *clock) reading() versioning.Reading {
	read := versioning.Reading{Pause: pauseFactor * c.run.cfg.SweepEvery}
	for at, s := range c.seen {
		if c.run.partitions.tenureOf(at) != s.tenure {
			continue // someone else tells of it
		}
		if !s.at.IsZero() && c.run.partitions.isSettled(at, s.end) {
			s.until, s.at = s.at, time.Time{}
			c.seen[at] = s
		}
		read.Partitions = append(read.Partitions, versioning.ReadPartition{
			TopicID: s.topicID, Partition: at.id, Until: s.until,
		})
	}
	return read
}

// meet gets to know partitions that are new to the worker.
func (c *clock) meet(ctx context.Context) error {
	owned := c.run.partitions.tenures()
	maps.DeleteFunc(c.seen, func(at partition, s sight) bool { return owned[at] != s.tenure })
	if len(c.seen) == len(owned) {
		return nil
	}
	ids, err := c.run.askTopicIDs(ctx, c.run.client)
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

// look asks for the ends of those partitions that have reached the last one, after a
// sweep at some time of the database.
func (c *clock) look(ctx context.Context, at time.Time) error {
	found, err := c.run.askEnds(ctx)
	if err != nil {
		return err
	}
	c.run.partitions.survey(found)
	for p, s := range c.seen {
		if e, ok := found[p]; ok && s.at.IsZero() {
			s.at, s.end = at, e.high
			c.seen[p] = s
		}
	}
	return nil
}
