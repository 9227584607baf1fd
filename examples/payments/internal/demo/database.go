package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// found is what the database says about the records, payments and accounts of a run.
type found struct {
	payments map[string]expect.Payment
	accounts map[string]expect.Account       // without the interest
	fates    map[traffic.Place][]expect.Fate // by record; more than one is an error
	steps    map[message]int                 // by message: how often it moved its payment or account
	written  written
}

// A message is a message about a payment or an account.
type message struct{ key, id string }

func newFound() *found {
	return &found{
		payments: make(map[string]expect.Payment),
		accounts: make(map[string]expect.Account),
		fates:    make(map[traffic.Place][]expect.Fate),
		steps:    make(map[message]int),
		written:  newWritten(),
	}
}

// find reads the database.
func (s *stage) find(ctx context.Context) (*found, error) {
	f := newFound()
	for _, read := range []func(context.Context, *found) error{
		s.findPayments, s.findAccounts, s.findSteps, s.findApplied, s.findParked, s.findDead,
	} {
		if err := read(ctx, f); err != nil {
			return nil, fmt.Errorf("read the result: %w", err)
		}
	}
	return f, nil
}

// each calls add after each row of a query has been scanned.
func (s *stage) each(ctx context.Context, add func(), into []any, sql string, args ...any) error {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, func() error {
		add()
		return nil
	})
	return err
}

func (s *stage) findPayments(ctx context.Context, f *found) error {
	var key, note string
	var p expect.Payment
	var reviews int64
	into := []any{&key, &p.State, &p.Version, &p.Currency, &p.Authorized, &p.Captured, &p.Refunded, &p.ChargedBack, &p.Fees, &reviews, &note}
	return s.each(ctx, func() {
		f.payments[key], f.written.reviews[key] = p, reviews
		if note != "" {
			f.written.notes[key] = note
		}
	}, into, `
SELECT id, state, version, currency, authorized, captured, refunded, charged_back, (fees * 10000)::bigint, risk_reviews, coalesce(risk_note, '')
FROM payments.payments`)
}

func (s *stage) findAccounts(ctx context.Context, f *found) error {
	var key string
	var a expect.Account
	var interest int64
	return s.each(ctx, func() { f.accounts[key], f.written.interest[key] = a, interest },
		[]any{&key, &a.State, &a.Version, &a.Currency, &a.Balance, &interest}, `
SELECT id, state, version, currency, balance - interest, interest FROM payments.accounts`)
}

func (s *stage) findSteps(ctx context.Context, f *found) error {
	var m message
	return s.each(ctx, func() { f.steps[m]++ }, []any{&m.key, &m.id}, `
SELECT entity, message_id FROM pawl.transitions`)
}

// findApplied finds the records that have moved something. A transfer has moved two
// accounts.
func (s *stage) findApplied(ctx context.Context, f *found) error {
	var at traffic.Place
	return s.each(ctx, func() { f.fates[at] = append(f.fates[at], expect.Fate{Kind: expect.Applied}) },
		[]any{&at.Partition, &at.Offset}, `
SELECT DISTINCT partition, "offset" FROM pawl.transitions WHERE topic_id = $1`, s.topicID)
}

func (s *stage) findParked(ctx context.Context, f *found) error {
	return s.findWhole(ctx, f, expect.Parked, `SELECT partition, "offset", reason FROM pawl.parked WHERE topic_id = $1`)
}

func (s *stage) findDead(ctx context.Context, f *found) error {
	return s.findWhole(ctx, f, expect.DeadLettered, `SELECT partition, "offset", reason FROM pawl.dead_letters WHERE topic_id = $1`)
}

// findWhole reads parked records or dead letters.
func (s *stage) findWhole(ctx context.Context, f *found, kind expect.Kind, sql string) error {
	var at traffic.Place
	var reason string
	return s.each(ctx, func() { f.fates[at] = append(f.fates[at], expect.Fate{Kind: kind, Reason: reason}) },
		[]any{&at.Partition, &at.Offset, &reason}, sql, s.topicID)
}

// settledBeyond counts the records of these partitions that are settled in the database but
// whose offsets are not committed.
func (s *stage) settledBeyond(ctx context.Context, ids []int32, committed map[int32]int64) (n int, err error) {
	from := make([]int64, len(ids))
	for i, id := range ids {
		from[i] = committed[id]
	}
	err = s.pool.QueryRow(ctx, `
WITH settled AS (
	SELECT partition, "offset" FROM pawl.transitions WHERE topic_id = $1
	UNION SELECT partition, "offset" FROM pawl.parked WHERE topic_id = $1
	UNION SELECT partition, "offset" FROM pawl.dead_letters WHERE topic_id = $1
)
SELECT count(*) FROM settled JOIN unnest($2::integer[], $3::bigint[]) AS u(id, committed)
	ON settled.partition = u.id AND settled."offset" >= u.committed`, s.topicID, ids, from).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the records that the killed worker settled: %w", err)
	}
	return n, nil
}

// A snapshot is a fingerprint of everything that workers write, by table and key. What
// colleagues write is left out, because they go on writing.
type snapshot map[string]string

const snapshotSQL = `
SELECT 'payments ' || id, concat_ws(' ', state, version, currency, authorized, captured, refunded, charged_back, fee_rate, fees)
FROM payments.payments
UNION ALL
SELECT 'accounts ' || id, concat_ws(' ', state, version, currency, balance - interest)
FROM payments.accounts
UNION ALL
SELECT 'transitions ' || machine || ' ' || entity || ' ' || version, md5(xmin::text || t::text)
FROM pawl.transitions AS t
UNION ALL
SELECT 'parked ' || partition || '@' || "offset", md5((to_jsonb(t) - 'parked_at')::text) -- sweeps move parked_at
FROM pawl.parked AS t
UNION ALL
SELECT 'dead_letters ' || partition || '@' || "offset", md5(xmin::text || t::text)
FROM pawl.dead_letters AS t`

func (s *stage) snapshot(ctx context.Context) (snapshot, error) {
	all := make(snapshot)
	var row, fingerprint string
	err := s.each(ctx, func() { all[row] = fingerprint }, []any{&row, &fingerprint}, snapshotSQL)
	if err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	return all, nil
}
