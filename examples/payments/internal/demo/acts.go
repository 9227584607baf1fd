package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// The names of the workers, also used as their Kafka client IDs.
const (
	survivor = "payments-a"
	victim   = "payments-b"
)

// chunks is the number of parts in which the traffic is sent, so that it arrives as a
// stream.
const chunks = 40

// consume is the first act: two workers consume the traffic while it is being produced. One
// of them is killed halfway and started again.
func (s *stage) consume(ctx context.Context, report *Report) error {
	crew := newCrew(ctx, s, firstGroup)
	defer crew.stopWorkers()
	crew.startWorker(survivor)
	b, err := crew.spawn(victim)
	if err != nil {
		return err
	}
	defer func() { b.kill() }()
	shared, err := s.group(crew.group).awaitShared(crew.ctx, survivor, victim)
	if err != nil {
		return err
	}
	s.say("Workers", "A (this process) has partitions %v, B (process %d) has %v", shared[survivor], b.pid(), shared[victim])
	s.say("Traffic", "%s records of %s payments and %s accounts, with faults from seed %d; if a worker\n"+
		"warns of dead letters below, it has found some of these faults",
		thousands(len(s.traffic.Records)), thousands(s.cfg.Payments), thousands(s.cfg.Accounts), s.cfg.Seed)
	s.say("Colleagues", "the risk desk and the interest run update the same rows all along")

	started := time.Now()
	if err := s.produceAndKill(crew.ctx, b, shared[victim], report); err != nil {
		return err
	}
	if b, err = crew.spawn(victim); err != nil {
		return err
	}
	if err := s.produce(crew.ctx, len(s.traffic.Records)); err != nil {
		return err
	}
	if err := s.group(crew.group).awaitDone(crew.ctx, len(s.ledger)); err != nil {
		return err
	}
	s.say("Consumed", "all %s records in %.1f s; the group has no lag", thousands(len(s.ledger)), time.Since(started).Seconds())
	return nil
}

// produceAndKill produces half of the traffic. When worker B has consumed half of its share,
// it produces some more and kills B while B works on that.
func (s *stage) produceAndKill(ctx context.Context, b *child, itsPartitions []int32, report *Report) error {
	half := len(s.traffic.Records) / 2
	if err := s.produce(ctx, half); err != nil {
		return err
	}
	if err := s.awaitHalf(ctx, itsPartitions); err != nil {
		return err
	}
	if err := s.produce(ctx, half+half/5); err != nil {
		return err
	}
	b.kill()
	done, err := s.group(firstGroup).committed(ctx)
	if err != nil {
		return err
	}
	uncommitted := s.uncommitted(itsPartitions, done)
	report.Redelivered, err = s.settledBeyond(ctx, itsPartitions, done)
	if err != nil {
		return err
	}
	s.say("Kill", "killed worker B (kill -9) after %s records were produced, and started it again. It\n"+
		"left %s records uncommitted, %s of them already in the database. They are\n"+
		"delivered again when its session times out, after %v.",
		thousands(len(s.ledger)), thousands(uncommitted), thousands(report.Redelivered), s.cfg.SessionTimeout)
	return nil
}

// produce sends records until the ledger holds that many.
func (s *stage) produce(ctx context.Context, until int) error {
	chunk := max(50, len(s.traffic.Records)/chunks)
	for len(s.ledger) < until {
		next := s.traffic.Records[len(s.ledger):min(until, len(s.ledger)+chunk)]
		sent, err := traffic.Send(ctx, s.client, topic, next)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		s.ledger = append(s.ledger, sent...)
		s.sent.Store(int64(len(s.ledger)))
	}
	return nil
}

// awaitHalf waits until the group has committed half of the records produced to these
// partitions.
func (s *stage) awaitHalf(ctx context.Context, ids []int32) error {
	return await(ctx, "wait for worker B to consume half of its records", func(ctx context.Context) (int64, bool, error) {
		committed, err := s.group(firstGroup).committed(ctx)
		open := s.uncommitted(ids, committed)
		return int64(-open), open <= s.uncommitted(ids, nil)/2, err
	})
}

// uncommitted counts the records that were produced to these partitions and are not
// committed.
func (s *stage) uncommitted(ids []int32, committed map[int32]int64) (n int) {
	for _, r := range s.ledger {
		if slices.Contains(ids, r.Place.Partition) && r.Place.Offset >= committed[r.Place.Partition] {
			n++
		}
	}
	return n
}

// replay is the second act: new workers in a new group read the same topic from its first
// record. The database has already seen every record.
func (s *stage) replay(ctx context.Context, report *Report) error {
	s.say("Replay", "new workers in a new group read the topic from its first record; no row may change,\n"+
		"except for what the colleagues write")
	crew := newCrew(ctx, s, firstGroup+"-replay")
	defer crew.stopWorkers()
	first, second := crew.startWorker(survivor), crew.startWorker(victim)
	if err := s.group(crew.group).awaitDone(crew.ctx, len(s.ledger)); err != nil {
		return err
	}
	crew.stopWorkers()
	for _, t := range []*tally{first, second} {
		for verdict, n := range t.verdicts {
			report.Replayed[verdict] += n
		}
	}
	return s.checkEnd(ctx)
}

func (s *stage) group(name string) group { return group{admin: s.admin, name: name} }

// checkEnd checks that the topic contains exactly the ledger's records.
func (s *stage) checkEnd(ctx context.Context) error {
	ends, err := s.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("read the end of topic %q: %w", topic, err)
	}
	var total int64
	for _, end := range ends[topic] {
		total += end.Offset
	}
	if total != int64(len(s.ledger)) {
		return fmt.Errorf("topic %q contains %d records, but the demo produced %d", topic, total, len(s.ledger))
	}
	return nil
}
