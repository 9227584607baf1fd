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
SELECT 'transitions ' || t.entity || ' ' || t.version, md5(t.xmin::text || t::text)
FROM pawl.transitions AS t WHERE t.machine = 'order' AND t.entity = ANY($1)
UNION ALL
SELECT 'parked ' || t.partition || '@' || t."offset", md5((to_jsonb(t) - 'parked_at')::text)
FROM pawl.parked AS t WHERE t.topic_id = $2
UNION ALL
SELECT 'dead_letters ' || t.partition || '@' || t."offset", md5(t.xmin::text || t::text)
FROM pawl.dead_letters AS t WHERE t.topic_id = $2`

func (s *stage) snapshot(ctx context.Context) (snapshot, error) {
	rows, err := s.pool.Query(ctx, snapshotSQL, s.traffic.Orders, s.topicID)
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
