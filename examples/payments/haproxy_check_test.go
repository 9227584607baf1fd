package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/examples/payments/internal/expect"
	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// A found is what the database says about a payment.
type found struct {
	row     expect.Payment
	history []step
	dead    map[string]int // by message ID: how many dead letters
}

// A step is a row of the history.
type step struct {
	version                    int64
	event, from, to, messageID string
}

// A querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// find reads the database.
func find(ctx context.Context, db querier) (map[string]*found, error) {
	all := make(map[string]*found)
	of := func(payment string) *found {
		if all[payment] == nil {
			all[payment] = &found{dead: make(map[string]int)}
		}
		return all[payment]
	}
	var key, id string
	var row expect.Payment
	var s step
	for _, q := range []struct {
		sql  string
		into []any
		add  func()
	}{
		{
			`
SELECT id, state, version, currency, authorized, captured, refunded, charged_back, (fees * 10000)::bigint FROM payments.payments`,
			[]any{&key, &row.State, &row.Version, &row.Currency, &row.Authorized, &row.Captured, &row.Refunded, &row.ChargedBack, &row.Fees},
			func() { of(key).row = row },
		},
		{
			`
SELECT entity, version, event, from_state, to_state, message_id FROM pawl.transitions ORDER BY entity, version`,
			[]any{&key, &s.version, &s.event, &s.from, &s.to, &s.messageID},
			func() { of(key).history = append(of(key).history, s) },
		},
		{
			`
SELECT entity, convert_from(decode(h->>'value_base64', 'base64'), 'UTF8')
FROM pawl.dead_letters, jsonb_array_elements(headers) AS h WHERE h->>'key' = 'ce_id'`,
			[]any{&key, &id},
			func() { of(key).dead[id]++ },
		},
	} {
		rows, err := db.Query(ctx, q.sql)
		if err != nil {
			return nil, err
		}
		if _, err := pgx.ForEachRow(rows, q.into, func() error { q.add(); return nil }); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// check compares the database and the answers with what was sent, and returns what differs.
func (p *proxied) check(ctx context.Context, db querier) (violations []string, err error) {
	all, err := find(ctx, db)
	if err != nil {
		return nil, err
	}
	requests := 0
	for payment, moves := range p.ledger {
		f := all[payment]
		delete(all, payment)
		if f == nil {
			f = &found{}
		}
		j := judge{payment: payment, found: f}
		j.replay(moves)
		for _, m := range moves {
			j.move(m)
			if m.route != "" {
				requests++
			}
		}
		violations = append(violations, j.violations...)
	}
	for payment := range all {
		violations = append(violations, payment+": nobody has sent anything about it")
	}
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"responses are stored", `SELECT count(*) FROM pawl.responses`, requests},
		{"records are parked", `SELECT count(*) FROM pawl.parked`, 0},
	} {
		rows, err := db.Query(ctx, c.sql)
		if err != nil {
			return nil, err
		}
		n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
		if err != nil {
			return nil, err
		}
		if n != c.want {
			violations = append(violations, fmt.Sprintf("%d %s, want %d", n, c.what, c.want))
		}
	}
	return violations, nil
}

// A judge compares what was found about a payment with its moves.
type judge struct {
	payment    string
	found      *found
	rows       []expect.Payment // after each step, as the demo's model computes them
	at         map[string]int   // by message ID: its step in rows
	violations []string
}

func (j *judge) say(format string, args ...any) {
	j.violations = append(j.violations, j.payment+": "+fmt.Sprintf(format, args...))
}

// replay makes the steps of the history with the demo's model, which knows nothing of the
// machine, and compares each. The row must be where they end.
func (j *judge) replay(moves []*move) {
	byID := make(map[string]*move)
	for _, m := range moves {
		byID[m.messageID()] = m
	}
	j.at = make(map[string]int)
	var made []traffic.Sent
	var row expect.Payment
	for i, s := range j.found.history {
		m := byID[s.messageID]
		if m == nil {
			j.say("step %d is of message %s, which nobody has sent", s.version, s.messageID)
			continue
		}
		if _, twice := j.at[s.messageID]; twice {
			j.say("%s took effect twice", m.ID)
		}
		sent := traffic.Sent{Record: m.Record, Place: traffic.Place{Offset: int64(i)}}
		made = append(made, sent)
		result := expect.Of(made)
		if fate := result.Fates[sent.Place]; fate.Kind != expect.Applied {
			j.say("step %d is of %s, which is %s there", s.version, m.ID, fate)
		}
		from := row.State
		row = result.Payments[j.payment]
		j.at[s.messageID] = len(j.rows)
		j.rows = append(j.rows, row)
		want := step{version: row.Version, event: m.Message.Type, from: from, to: row.State, messageID: s.messageID}
		if s != want {
			j.say("the history has %+v, want %+v", s, want)
		}
	}
	if j.found.row != row {
		j.say("the row is %+v, but its history ends at %+v", j.found.row, row)
	}
}

// move checks one request or record.
func (j *judge) move(m *move) {
	for _, wrong := range m.wrong {
		j.say("%s %s", m.ID, wrong)
	}
	at, applied := j.at[m.messageID()]
	if applied == m.refused {
		j.say("%s took effect: %t, want %t", m.ID, applied, !m.refused)
	}
	wantDead := 0
	if m.refused {
		wantDead = m.copies
	}
	if dead := j.found.dead[m.ID]; dead != wantDead {
		j.say("%s has %d dead letters, want %d", m.ID, dead, wantDead)
	}
	if m.route != "" && m.first != nil && applied {
		j.answer(m, j.rows[at:])
	}
	if m.refused && m.first != nil && m.first.status != http.StatusUnprocessableEntity {
		j.say("%s was answered with %+v, want 422", m.ID, *m.first)
	}
}

// answer checks that the answer is the row, as it was when the request had taken effect or
// later.
func (j *judge) answer(m *move, rows []expect.Payment) {
	var p payment
	err := json.Unmarshal([]byte(m.first.body), &p)
	if err != nil || m.first.status != statusOf(moves[m.route]) || p.ID != j.payment {
		j.say("%s was answered with %+v", m.ID, *m.first)
		return
	}
	fees, err := decimal.NewFromString(p.Fees)
	if err != nil {
		j.say("%s was answered with %+v: %v", m.ID, *m.first, err)
	}
	said := expect.Payment{
		State: p.State, Currency: p.Currency, Authorized: p.Authorized, Captured: p.Captured, Refunded: p.Refunded, Fees: fees.Shift(feePlaces).IntPart(),
	}
	was := slices.ContainsFunc(rows, func(row expect.Payment) bool {
		row.Version = 0
		return row == said
	})
	if !was {
		j.say("%s was answered with %+v, which was never the row", m.ID, *m.first)
	}
}

// checkNotices damages the database in ways that check must report.
func (p *proxied) checkNotices(t *testing.T) {
	t.Helper()
	for damage, want := range map[string]string{
		`UPDATE payments.payments SET captured = captured - 1 WHERE id = (
			SELECT id FROM payments.payments WHERE captured > refunded ORDER BY id LIMIT 1)`: "but its history ends at",
		`DELETE FROM payments.payments WHERE id = 'p1'`: "p1: the row is",
		`INSERT INTO pawl.transitions SELECT (jsonb_populate_record(t, '{"version": 1000}')).*
			FROM pawl.transitions AS t WHERE entity = 'p1' AND version = 2`: "took effect twice",
		`UPDATE pawl.transitions SET message_id = 'other' WHERE entity = 'p1' AND version = 2`: "which nobody has sent",
		`DELETE FROM pawl.transitions WHERE entity = 'p1' AND version = 1`:                     "took effect: false, want true",
		`DELETE FROM pawl.dead_letters`:                                                        "has 0 dead letters",
		`DELETE FROM pawl.responses`:                                                           "0 responses are stored",
	} {
		tx, err := p.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), damage); err != nil {
			t.Errorf("%s: %v", damage, err)
		}
		violations, err := p.check(t.Context(), tx)
		if err != nil || !strings.Contains(strings.Join(violations, "\n"), want) {
			t.Errorf("%s: the check reports %q, %v, want %q", damage, violations, err, want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
