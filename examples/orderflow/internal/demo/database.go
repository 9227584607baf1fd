package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/provider"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// found is what the database, the provider and the topic of the shipments say about the
// records and orders of a run.
type found struct {
	orders    map[string]expect.Order
	payments  map[string]expect.Payment
	shipments map[string]string               // by order: the state
	fates     map[traffic.Place][]expect.Fate // by record; more than one is an error
	steps     map[message]int                 // by message: how often it moved its order

	heard map[string][]expect.Heard // by order: what the provider and its timer have told it
	early []string                  // orders that expired before their time
	stray int                       // parked records and dead letters of the shipments; there should be none

	provider  provider.Ledger
	announced []announced
}

// A message is a message about an order.
type message struct{ order, id string }

// find reads the database.
func (s *stage) find(ctx context.Context) (*found, error) {
	f := &found{
		orders:    make(map[string]expect.Order),
		payments:  make(map[string]expect.Payment),
		shipments: make(map[string]string),
		fates:     make(map[traffic.Place][]expect.Fate),
		steps:     make(map[message]int),
		heard:     make(map[string][]expect.Heard),
		provider:  s.provider.Ledger(),
	}
	for _, read := range []func(context.Context, *found) error{
		s.findOrders, s.findPayments, s.findShipments, s.findSteps, s.findHeard, s.findEarly, s.findParked, s.findDead, s.findStray,
	} {
		if err := read(ctx, f); err != nil {
			return nil, fmt.Errorf("read the records' fates: %w", err)
		}
	}
	var err error
	f.announced, err = s.readShipments(ctx)
	return f, err
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

func (s *stage) findPayments(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT id, state, version, amount::text, card FROM orderflow.payments WHERE id = ANY($1)`, s.traffic.Orders)
	if err != nil {
		return err
	}
	var id string
	var p expect.Payment
	_, err = pgx.ForEachRow(rows, []any{&id, &p.State, &p.Version, &p.Amount, &p.Card}, func() error {
		f.payments[id] = p
		return nil
	})
	return err
}

func (s *stage) findShipments(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `SELECT id, state FROM orderflow.shipments WHERE id = ANY($1)`, s.traffic.Orders)
	if err != nil {
		return err
	}
	var id, state string
	_, err = pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		f.shipments[id] = state
		return nil
	})
	return err
}

// findHeard reads the steps of orders that no record of the topic made.
func (s *stage) findHeard(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT entity, event, version
FROM pawl.transitions WHERE machine = 'order' AND entity = ANY($1) AND topic_id <> $2
ORDER BY entity, version`, s.traffic.Orders, s.topicID)
	if err != nil {
		return err
	}
	var id string
	var h expect.Heard
	_, err = pgx.ForEachRow(rows, []any{&id, &h.Event, &h.Version}, func() error {
		f.heard[id] = append(f.heard[id], h)
		return nil
	})
	return err
}

// findEarly reads the orders that expired before they were unpaid for long enough.
func (s *stage) findEarly(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT e.entity
FROM pawl.transitions AS e
JOIN pawl.transitions AS d USING (machine, entity)
WHERE machine = 'order' AND entity = ANY($1) AND e.event = 'order.expired' AND d.version = e.version - 1
	AND e.at < d.at + $2`, s.traffic.Orders, payWithin)
	if err != nil {
		return err
	}
	f.early, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

func (s *stage) findStray(ctx context.Context, f *found) error {
	return s.pool.QueryRow(ctx, `
SELECT (SELECT count(*) FROM pawl.parked WHERE topic_id = $1) + (SELECT count(*) FROM pawl.dead_letters WHERE topic_id = $1)`,
		s.shipmentsID).Scan(&f.stray)
}

func (s *stage) findSteps(ctx context.Context, f *found) error {
	rows, err := s.pool.Query(ctx, `
SELECT entity, message_id, partition, "offset", topic_id = $2
FROM pawl.transitions WHERE machine = 'order' AND entity = ANY($1)`, s.traffic.Orders, s.topicID)
	if err != nil {
		return err
	}
	var m message
	var at traffic.Place
	var ofRecord bool
	_, err = pgx.ForEachRow(rows, []any{&m.order, &m.id, &at.Partition, &at.Offset, &ofRecord}, func() error {
		f.steps[m]++
		if ofRecord {
			f.fates[at] = append(f.fates[at], expect.Fate{Kind: expect.Applied})
		}
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
