package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A snapshot is a fingerprint of every row of a run, by table and key. It
// includes xmin, the transaction that last wrote the row, so that it shows even
// a write that changed nothing. It does not include xmin for parked records: a
// sweep may update the time from which their age counts.
type snapshot map[string]string

const snapshotSQL = `
SELECT 'orders ' || t.id, md5(t.xmin::text || t::text)
FROM orderflow.orders AS t WHERE t.id = ANY($1)
UNION ALL
SELECT 'payments ' || t.id, md5(t.xmin::text || t::text)
FROM orderflow.payments AS t WHERE t.id = ANY($1)
UNION ALL
SELECT 'shipments ' || t.id, md5(t.xmin::text || t::text)
FROM orderflow.shipments AS t WHERE t.id = ANY($1)
UNION ALL
SELECT 'jobs ' || t.id, md5(t.state::text || t.attempt)
FROM orderflow_river.river_job AS t WHERE t.metadata #>> '{pawl,entity}' = ANY($1)
UNION ALL
SELECT 'timers ' || t.id, md5(t::text)
FROM pawl.timers AS t WHERE t.machine = 'order' AND t.entities && $1
UNION ALL
SELECT 'transitions ' || t.machine || ' ' || t.entity || ' ' || t.version, md5(t.xmin::text || t::text)
FROM pawl.transitions AS t WHERE t.machine IN ('order', 'payment', 'shipment') AND t.entity = ANY($1)
UNION ALL
SELECT 'parked ' || t.partition || '@' || t."offset", md5((to_jsonb(t) - 'parked_at')::text)
FROM pawl.parked AS t WHERE t.topic_id = ANY($2)
UNION ALL
SELECT 'dead_letters ' || t.partition || '@' || t."offset", md5(t.xmin::text || t::text)
FROM pawl.dead_letters AS t WHERE t.topic_id = ANY($2)`

func (s *stage) snapshot(ctx context.Context) (snapshot, error) {
	rows, err := s.pool.Query(ctx, snapshotSQL, s.traffic.Orders, s.topicIDs())
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	all := make(snapshot)
	var row, fingerprint string
	_, err = pgx.ForEachRow(rows, []any{&row, &fingerprint}, func() error {
		all[row] = fingerprint
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	return all, nil
}

// moved returns the rows that differ between the snapshots.
func (s snapshot) moved(after snapshot) (rows []string) {
	for row, before := range s {
		if after[row] != before {
			rows = append(rows, row)
		}
	}
	for row := range after {
		if _, known := s[row]; !known {
			rows = append(rows, row)
		}
	}
	return rows
}
