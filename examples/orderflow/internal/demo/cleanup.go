package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// cleanUp removes the topics, the groups and the rows that this run created on the
// user's servers, and nothing else.
func (s *stage) cleanUp() error {
	// The run's context may be canceled; clean up even after a Ctrl-C.
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.SessionTimeout+15*time.Second)
	defer cancel()
	s.screen.say("Clean up", "removing the topics, the rows and the groups of this run (--keep keeps them)")
	_, topicErr := s.admin.DeleteTopic(ctx, s.topic)
	_, shipmentsErr := s.admin.DeleteTopic(ctx, s.shipments)
	if err := errors.Join(topicErr, shipmentsErr, s.deleteGroups(ctx), s.deleteRows(ctx)); err != nil {
		return fmt.Errorf("clean up after the demo: %w", err)
	}
	return nil
}

// deleteGroups deletes the groups of this run. After a Ctrl-C, a group may
// still wait for the killed worker; it can be deleted only after that worker's
// session times out.
func (s *stage) deleteGroups(ctx context.Context) error {
	return await(ctx, "delete the groups", func(ctx context.Context) (int64, bool, error) {
		deleted, err := s.admin.DeleteGroups(ctx, s.group, replayOf(s.group), s.shipmentGroup, replayOf(s.shipmentGroup))
		for _, d := range deleted {
			if !errors.Is(d.Err, kerr.GroupIDNotFound) {
				err = errors.Join(err, d.Err)
			}
		}
		return 0, err == nil, err
	})
}

func (s *stage) deleteRows(ctx context.Context) error {
	for _, q := range []struct {
		sql string
		arg any
	}{
		{`DELETE FROM orderflow.orders WHERE id = ANY($1)`, s.traffic.Orders},
		{`DELETE FROM orderflow.payments WHERE id = ANY($1)`, s.traffic.Orders},
		{`DELETE FROM orderflow.shipments WHERE id = ANY($1)`, s.traffic.Orders},
		{`DELETE FROM orderflow_river.river_job WHERE metadata #>> '{pawl,entity}' = ANY($1)`, s.traffic.Orders},
		{`DELETE FROM pawl.transitions WHERE machine IN ('order', 'payment', 'shipment') AND entity = ANY($1)`, s.traffic.Orders},
		{`DELETE FROM pawl.parked WHERE topic_id = ANY($1)`, s.topicIDs()},
		{`DELETE FROM pawl.dead_letters WHERE topic_id = ANY($1)`, s.topicIDs()},
	} {
		if _, err := s.pool.Exec(ctx, q.sql, q.arg); err != nil {
			return err
		}
	}
	return nil
}

// topicIDs returns the UUIDs of the run's topics.
func (s *stage) topicIDs() [][16]byte { return [][16]byte{s.topicID, s.shipmentsID} }
