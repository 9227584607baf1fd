package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// found is what the database says about the records and orders of a run.
type found struct {
	orders map[string]expect.Order
	fates  map[traffic.Place][]expect.Fate // by record; more than one is an error
	steps  map[message]int                 // by message: how often it moved its order
}

// A message is a message about an order.
type message struct{ order, id string }

// find reads the database.
func (s *stage) find(ctx context.Context) (*found, error) {
	f := &found{
		orders: make(map[string]expect.Order),
		fates:  make(map[traffic.Place][]expect.Fate),
		steps:  make(map[message]int),
	}
	for _, read := range []func(context.Context, *found) error{s.findOrders, s.findSteps, s.findParked, s.findDead} {
		if err := read(ctx, f); err != nil {
			return nil, fmt.Errorf("read the records' fates: %w", err)
		}
	}
	return f, nil
}

func (s *stage) findOrders(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT id, state, version, customer, total::text, coalesce(tracking, ''), coalesce(cancel_reason, '')
FROM orderflow.orders WHERE id = ANY($1)`, s.traffic.Orders)
	if err != nil {
		return err
	}
	var id string
	var o expect.Order
	_, err = pgx.ForEachRow(rows, []any{&id, &o.State, &o.Version, &o.Customer, &o.Total, &o.Tracking, &o.Reason}, func() error {
		f.orders[id] = o
		return nil
	})
	return err
}

func (s *stage) findSteps(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT entity, message_id, partition, "offset"
FROM pawl.transitions WHERE machine = 'order' AND entity = ANY($1)`, s.traffic.Orders)
	if err != nil {
		return err
	}
	var m message
	var at traffic.Place
	_, err = pgx.ForEachRow(rows, []any{&m.order, &m.id, &at.Partition, &at.Offset}, func() error {
		f.steps[m]++
		f.fates[at] = append(f.fates[at], expect.Fate{Kind: expect.Applied})
		return nil
	})
	return err
}

func (s *stage) findParked(ctx context.Context, f *found) error {
	return s.findWhole(ctx, f, expect.Parked, `SELECT partition, "offset", reason FROM pawl.parked WHERE topic_id = $1`)
}

func (s *stage) findDead(ctx context.Context, f *found) error {
	return s.findWhole(ctx, f, expect.DeadLettered, `SELECT partition, "offset", reason FROM pawl.dead_letters WHERE topic_id = $1`)
}

// findWhole reads parked records or dead letters.
func (s *stage) findWhole(ctx context.Context, f *found, kind expect.Kind, sql string) error {
	rows, err := s.pool.Query(ctx, sql, s.topicID)
	if err != nil {
		return err
	}
	var at traffic.Place
	var reason string
	_, err = pgx.ForEachRow(rows, []any{&at.Partition, &at.Offset, &reason}, func() error {
		f.fates[at] = append(f.fates[at], expect.Fate{Kind: kind, Reason: reason})
		return nil
	})
	return err
}

// settledBeyond counts the records of these partitions that are settled in the
// database but whose offsets are not committed.
func (s *stage) settledBeyond(ctx context.Context, ids []int32, committed map[int32]int64) (n int, err error) {
	from := make([]int64, len(ids))
	for i, id := range ids {
		from[i] = committed[id]
	}
	err = s.pool.QueryRow(ctx, `
WITH settled AS (
	SELECT partition, "offset" FROM pawl.transitions WHERE machine = 'order' AND entity = ANY($1) AND topic_id = $2
	UNION ALL SELECT partition, "offset" FROM pawl.parked WHERE topic_id = $2
	UNION ALL SELECT partition, "offset" FROM pawl.dead_letters WHERE topic_id = $2
)
SELECT count(*) FROM settled JOIN unnest($3::integer[], $4::bigint[]) AS u(id, committed)
	ON settled.partition = u.id AND settled."offset" >= u.committed`, s.traffic.Orders, s.topicID, ids, from).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the records that the killed worker settled: %w", err)
	}
	return n, nil
}
