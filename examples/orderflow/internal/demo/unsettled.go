package demo

import (
	"context"
	"fmt"
)

// unsettled counts what orders still wait for.
type unsettled struct{ orders, parked, jobs, timers, shipments int64 }

func (u unsettled) total() int64 { return u.orders + u.parked + u.jobs + u.timers + u.shipments }

// unsettled reads what the orders of the run still wait for: the provider's answer or their
// timer, records that the next sweep judges again because their order moved while they were
// being parked, jobs that have not ended, timers that were not yet looked at, and shipments
// that the carrier has not heard of.
func (s *stage) unsettled(ctx context.Context) (u unsettled, err error) {
	err = s.pool.QueryRow(ctx, `
SELECT
	(SELECT count(*) FROM orderflow.orders WHERE id = ANY($1) AND state IN ('pending', 'unpaid', 'cancelling', 'refunding')),
	(SELECT count(*) FROM pawl.parked AS p LEFT JOIN orderflow.orders AS o ON o.id = p.entity LEFT JOIN orderflow.payments AS y ON y.id = p.entity
		WHERE p.topic_id = $2 AND p.seen_version <> coalesce(CASE p.machine WHEN 'order' THEN o.version ELSE y.version END, 0)),
	(SELECT count(*) FROM orderflow_river.river_job WHERE finalized_at IS NULL AND metadata #>> '{pawl,entity}' = ANY($1)),
	(SELECT count(*) FROM pawl.timers WHERE machine = 'order' AND entities && $1),
	(SELECT count(*) FROM pawl.transitions WHERE machine = 'order' AND entity = ANY($1) AND event IN ('order.shipped', 'order.delivered'))
		- (SELECT count(*) FROM pawl.transitions WHERE machine = 'shipment' AND entity = ANY($1))`,
		s.traffic.Orders, s.topicID).Scan(&u.orders, &u.parked, &u.jobs, &u.timers, &u.shipments)
	if err != nil {
		return u, fmt.Errorf("read what is not settled: %w", err)
	}
	u.shipments = max(u.shipments, -u.shipments)
	return u, nil
}

// rescue makes the jobs of a dead worker available to others, and returns how many those are.
// River does it too, but only after Config.RescueStuckJobsAfter.
func (s *stage) rescue(ctx context.Context, dead *child) (n int, err error) {
	err = s.pool.QueryRow(ctx, `
WITH rescued AS (
	UPDATE orderflow_river.river_job SET state = 'available', scheduled_at = now()
	WHERE state = 'running' AND attempted_by[cardinality(attempted_by)] = $1
	RETURNING id
)
SELECT count(*) FROM rescued`, fmt.Sprintf("%s_%d", victim, dead.pid())).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("rescue the jobs of the killed worker: %w", err)
	}
	return n, nil
}
