package main

import (
	"slices"
	"testing"
	"time"
)

// transacted returns evidence of messages in transactions: one every second, each in a
// transaction, without losses.
func transacted(p *played) (e evidence, began time.Time) {
	e, began = p.evidence(), time.Unix(1_800_000_000, 0)
	e.isTransactional = true
	for i := range e.sent {
		publish(&e.sent[i], began.Add(time.Duration(i)*time.Second), i)
	}
	return e, began
}

// publish publishes a message in a transaction at a time. It was read just before.
func publish(m *sentMessage, at time.Time, transaction int) {
	m.published, m.asked, m.got = at, at.Add(-2*time.Millisecond), at.Add(-time.Millisecond)
	m.transaction.epoch = int16(transaction)
}

// TestExactlyOnce checks that judge detects each kind of violation of messages in transactions,
// and allows what a loss explains.
func TestExactlyOnce(t *testing.T) {
	p := play(t, 7, 3000)
	// again publishes the i-th message of an entity again at the end, and returns when.
	again := func(e *evidence, i int) (first *sentMessage, at time.Time) {
		first = &e.sent[i]
		m := *first
		at = e.sent[len(e.sent)-1].published.Add(time.Minute)
		publish(&m, at, len(e.sent))
		e.sent = append(e.sent, m)
		return first, at
	}
	// next returns when the lane of a message has published its next one.
	next := func(e *evidence, of *sentMessage) time.Time {
		i := slices.IndexFunc(e.sent, func(m sentMessage) bool { return m.lane() == of.lane() && m.published.After(of.published) })
		return e.sent[i].published
	}
	later := func(e *evidence) int {
		return slices.IndexFunc(e.sent, func(m sentMessage) bool { return m.Version > 1 })
	}
	tests := []struct {
		name string
		do   func(*evidence)
		want once
	}{
		{"nothing is wrong", func(*evidence) {}, once{}},
		{"a message is there twice", func(e *evidence) { again(e, 0) }, once{Twice: 1}},
		{"a message is there twice in a transaction", func(e *evidence) { e.sent = slices.Insert(e.sent, 1, e.sent[0]) }, once{Twice: 1}},
		{"a message is there again after a loss of its deletion", func(e *evidence) {
			first, at := again(e, 0)
			e.losses = []loss{{kept: first.published, at: at.Add(-time.Second)}}
		}, once{AfterLoss: 1}},
		{"a message is there again after a loss before its lane went on", func(e *evidence) {
			first, at := again(e, 0)
			e.losses = []loss{{kept: next(e, first), at: at.Add(-time.Second)}}
		}, once{AfterLoss: 1}},
		{"a message is there again after a loss that its lane went on before", func(e *evidence) {
			first, at := again(e, 0)
			e.losses = []loss{{kept: next(e, first).Add(time.Second), at: at.Add(-time.Second)}}
		}, once{Twice: 1}},
		{"a message is there twice before a loss", func(e *evidence) {
			first, at := again(e, 0)
			e.losses = []loss{{kept: first.published, at: at.Add(time.Second)}}
		}, once{Twice: 1}},
		{"a message is there twice after a loss", func(e *evidence) {
			first, _ := again(e, 0)
			e.losses = []loss{{kept: first.asked.Add(-time.Minute), at: first.asked.Add(-time.Second)}}
		}, once{Twice: 1}},
		{"a message is there three times after a loss", func(e *evidence) {
			first, at := again(e, 0)
			again(e, 0)
			e.losses = []loss{{kept: first.published, at: at.Add(-time.Second)}}
		}, once{AfterLoss: 1, Twice: 1}},
		{"a message was read from the lost database and published late", func(e *evidence) {
			first, at := again(e, len(e.sent)-1)
			first.published = at.Add(-time.Millisecond)
			e.losses = []loss{{kept: first.got, at: first.got.Add(time.Millisecond)}}
		}, once{AfterLoss: 1}},
		{"a message is late", func(e *evidence) {
			m := e.sent[later(e)]
			i := slices.IndexFunc(e.sent, func(o sentMessage) bool { return o.Machine == m.Machine && o.Entity == m.Entity })
			e.sent[i].announcement, e.sent[later(e)].announcement = m.announcement, e.sent[i].announcement
		}, once{Disordered: 1}},
		{"a message is of no step", func(e *evidence) { e.sent[0].Trail++ }, once{Unexplained: 1}},
		{"a message is of a step that was lost", func(e *evidence) {
			e.sent[0].Trail++
			e.losses = []loss{{kept: e.sent[0].got, at: e.sent[0].asked}}
		}, once{}},
		{"a message is of a step that was not lost", func(e *evidence) {
			e.sent[0].Trail++
			e.losses = []loss{{kept: e.sent[0].got.Add(time.Microsecond), at: e.sent[0].got.Add(time.Hour)}}
		}, once{Unexplained: 1}},
		{"a message is of a step after the loss", func(e *evidence) {
			e.sent[0].Trail++
			e.losses = []loss{{kept: e.sent[0].asked.Add(-time.Hour), at: e.sent[0].asked.Add(-time.Microsecond)}}
		}, once{Unexplained: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := transacted(p)
			tt.do(&e)
			j := judge(p.ledger, e)
			j.once.Messages, j.once.Transactions = 0, 0
			if j.once != tt.want {
				t.Errorf("once %+v, want %+v: %q", j.once, tt.want, j.messages)
			}
		})
	}
}

// TestMissingInTransactions checks that judge detects a message in a transaction that is missing,
// also after a loss.
func TestMissingInTransactions(t *testing.T) {
	p := play(t, 7, 3000)
	e, began := transacted(p)
	e.sent = slices.Delete(e.sent, 5, 6)
	e.losses = []loss{{kept: began, at: began.Add(time.Hour)}}
	if j := judge(p.ledger, e); j.outputs.Missing != 1 {
		t.Errorf("outputs %+v, once %+v: %q", j.outputs, j.once, j.messages)
	}
}
