package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// The names of the workers, also used as their Kafka client IDs.
const (
	survivor = "orderflow-a"
	victim   = "orderflow-b"
	carrier  = "orderflow-carrier"
)

// chunks is the number of parts in which the traffic is sent, so that it
// arrives as a stream.
const chunks = 40

// consume is the first act: two workers consume the traffic while it is being
// produced, and one of them is killed halfway. A third one consumes what they
// announce.
func (s *stage) consume(ctx context.Context, report *Report) error {
	crew := newCrew(ctx, s, s.group)
	defer crew.stopWorkers()
	tally := crew.startWorker(survivor)
	crew.startCarrier(s.shipmentGroup)
	child, err := crew.spawn(victim)
	if err != nil {
		return err
	}
	defer child.kill()
	shared, err := s.ordersGroup(crew.group).awaitShared(crew.ctx, survivor, victim)
	if err != nil {
		return err
	}
	s.screen.say("Workers", "A (this process) has partitions %v, B (process %d) has %v", shared[survivor], child.pid(), shared[victim])
	s.screen.say("Traffic", "%s records of %s orders, with faults from seed %d; if a worker warns of\n"+
		"dead letters below, it has found some of these faults", thousands(len(s.traffic.Records)), thousands(s.cfg.Orders), s.cfg.Seed)

	started := time.Now()
	s.screen.begin("consuming", len(s.traffic.Records))
	defer s.screen.end()
	if err := s.produceAndKill(crew.ctx, child, shared[victim], report); err != nil {
		return err
	}
	if err := s.ordersGroup(crew.group).awaitDone(crew.ctx, len(s.ledger), s.screen.show); err != nil {
		return err
	}
	s.screen.end()
	took := time.Since(started)
	s.screen.say("Consumed", "all %s records in %.1f s; the group has no lag", thousands(len(s.ledger)), took.Seconds())
	if err := s.settle(crew.ctx, child, report); err != nil {
		return err
	}
	crew.stopWorkers()
	report.firstRun(tally, took)
	return s.checkEnd(ctx)
}

// settle waits for what the records have caused: calls, timers and shipments.
func (s *stage) settle(ctx context.Context, dead *child, report *Report) error {
	started := time.Now()
	var rest unsettled
	err := awaitEvery(ctx, pollDatabaseEvery, "settle what the records have caused", func(ctx context.Context) (int64, bool, error) {
		n, err := s.rescue(ctx, dead) // a statement of the dead worker may have arrived late
		if err != nil {
			return 0, false, err
		}
		report.KilledWorker.Calls += n
		rest, err = s.unsettled(ctx)
		return -rest.total(), rest.total() == 0, err
	})
	if errors.Is(err, errStuck) {
		s.screen.say("Settled", "not everything: %v", err) // the reconciliation says what is missing
		return nil
	}
	report.SettleSeconds = seconds(time.Since(started))
	s.screen.say("Settled", "the calls, timers and shipments that were still open then, in %.1f s", time.Since(started).Seconds())
	return err
}

// produceAndKill produces the traffic. When half of it is produced and worker B
// has consumed half of its share, it produces some more and kills B while B
// works on that.
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
	if err := s.reportKill(ctx, b, itsPartitions, report); err != nil {
		return err
	}
	return s.produce(ctx, len(s.traffic.Records))
}

// produce sends records until the ledger holds that many.
func (s *stage) produce(ctx context.Context, until int) error {
	chunk := max(50, len(s.traffic.Records)/chunks)
	for len(s.ledger) < until {
		next := s.traffic.Records[len(s.ledger):min(until, len(s.ledger)+chunk)]
		sent, err := traffic.Send(ctx, s.client, s.topic, next)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		s.ledger = append(s.ledger, sent...)
	}
	return nil
}

// awaitHalf waits until the group has committed half of the records produced to
// these partitions.
func (s *stage) awaitHalf(ctx context.Context, ids []int32) error {
	return await(ctx, "wait for worker B to consume half of its records", func(ctx context.Context) (int64, bool, error) {
		committed, err := s.ordersGroup(s.group).committed(ctx)
		open := s.uncommitted(ids, committed)
		return int64(-open), open <= s.uncommitted(ids, nil)/2, err
	})
}

// uncommitted counts the records that were produced to these partitions and are
// not committed.
func (s *stage) uncommitted(ids []int32, committed map[int32]int64) (n int) {
	for _, r := range s.ledger {
		if slices.Contains(ids, r.Place.Partition) && r.Place.Offset >= committed[r.Place.Partition] {
			n++
		}
	}
	return n
}

// reportKill reports what the killed worker left behind.
func (s *stage) reportKill(ctx context.Context, b *child, ids []int32, report *Report) error {
	done, err := s.ordersGroup(s.group).committed(ctx)
	if err != nil {
		return fmt.Errorf("read the offsets of group %q: %w", s.group, err)
	}
	killed := Killed{PID: b.pid(), Partitions: ids, After: len(s.ledger), Uncommitted: s.uncommitted(ids, done)}
	killed.Redelivered, err = s.settledBeyond(ctx, ids, done)
	if err != nil {
		return err
	}
	killed.Calls, err = s.rescue(ctx, b)
	if err != nil {
		return err
	}
	report.KilledWorker = killed
	s.screen.say("Kill", "killed worker B (kill -9) after %s records were produced. It left %s records\n"+
		"uncommitted, %s of them already in the database. The group does not know yet: B's\n"+
		"partitions make no progress until its session times out, after %v. Then A takes\n"+
		"them over, and must neither lose a record nor apply one twice. B was also about to call\n"+
		"the payment provider, or had, for %s orders: A repeats these calls, and nobody must pay\n"+
		"twice. (River would find them by itself, but only after an hour; the demo tells it.)",
		thousands(killed.After), thousands(killed.Uncommitted), thousands(killed.Redelivered), s.cfg.SessionTimeout, thousands(killed.Calls))
	return nil
}

// replay is the second act: new workers in a new group read the same topic from
// its first record. The database has already seen every record.
func (s *stage) replay(ctx context.Context, report *Report) error {
	s.screen.say("Replay", "new workers in new groups read the topics from their first records; nothing in the\n"+
		"database may change, and nothing may be called or announced again")
	crew := newCrew(ctx, s, replayOf(s.group))
	defer crew.stopWorkers()
	started := time.Now()
	s.screen.begin("replaying", len(s.ledger))
	defer s.screen.end()
	first, second := crew.startWorker(survivor), crew.startWorker(victim)
	if err := s.ordersGroup(crew.group).awaitDone(crew.ctx, len(s.ledger), s.screen.show); err != nil {
		return err
	}
	took := time.Since(started)
	if err := s.replayShipments(crew); err != nil {
		return err
	}
	crew.stopWorkers()
	first.add(second)
	report.replayed(first, took)
	return nil
}

func (s *stage) replayShipments(crew *crew) error {
	ends, err := s.ends(crew.ctx, s.shipments)
	if err != nil {
		return err
	}
	crew.startCarrier(replayOf(s.shipmentGroup))
	return group{admin: s.admin, name: replayOf(s.shipmentGroup), topic: s.shipments}.awaitDone(crew.ctx, int(sum(ends)), s.screen.show)
}

// replayOf returns the group of the replay.
func replayOf(group string) string { return group + "-replay" }

func (s *stage) ordersGroup(name string) group {
	return group{admin: s.admin, name: name, topic: s.topic}
}

// checkEnd checks that the topic contains exactly the ledger's records.
func (s *stage) checkEnd(ctx context.Context) error {
	ends, err := s.ends(ctx, s.topic)
	if err != nil {
		return err
	}
	if total := sum(ends); total != int64(len(s.ledger)) {
		return fmt.Errorf("topic %q contains %d records, but the demo produced %d: another program writes to it", s.topic, total, len(s.ledger))
	}
	return nil
}

// ends returns the end of each partition of a topic.
func (s *stage) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := s.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read the end of topic %q: %w", topic, err)
	}
	ends := make(map[int32]int64)
	for id, end := range listed[topic] {
		ends[id] = end.Offset
	}
	return ends, nil
}
