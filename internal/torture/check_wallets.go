package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A purseRow is a wallet's row, with the number of times that others have written it.
type purseRow struct {
	ID           string
	State        statemachine.State
	Balance      int64
	Seen, Visits int64
	Writes       int64
}

// A keptRecord is a parked record or a dead letter about wallets.
type keptRecord struct {
	Partition int32
	Offset    int64
	Entity    string
	Reason    versioning.Reason
	Detail    string // of a dead letter
}

func (k *keptRecord) at() place { return place{k.Partition, k.Offset} }

// walletEvidence is what the database has about wallets.
type walletEvidence struct {
	purses []purseRow
	waits  []keptRecord
	dead   []keptRecord
}

func (t tenant) gatherWallets(ctx context.Context, conn *pgx.Conn) (e walletEvidence, err error) {
	if e.purses, err = collect(ctx, conn, pgx.RowToStructByPos[purseRow], t.sql(`
		SELECT id, state, balance, seen, visits, (SELECT count(*) FROM torture.foreign_writes AS f WHERE f.id = w.id)
		FROM torture.wallets AS w`)); err != nil {
		return e, err
	}
	if e.waits, err = collect(ctx, conn, pgx.RowToStructByPos[keptRecord], t.sql(`
		SELECT partition, "offset", entity, reason, '' FROM pawl.parked WHERE machine = 'wallet'`)); err != nil {
		return e, err
	}
	e.dead, err = collect(ctx, conn, pgx.RowToStructByPos[keptRecord], t.sql(`
		SELECT partition, "offset", entity, reason, detail FROM pawl.dead_letters WHERE machine = 'wallet'`))
	return e, err
}

// A tally is the wallets' part of a judgement and of the summary.
type tally struct {
	Accepted          int `json:"accepted"`
	Refused           int `json:"refused"`
	Waiting           int `json:"waiting"` // at the end, for enough money
	Lost              int `json:"lost"`
	AppliedTwice      int `json:"applied_twice"`
	Wrong             int `json:"wrong"`
	ForeignWrites     int `json:"foreign_writes"` // by others, to the same rows
	ForeignWritesLost int `json:"foreign_writes_lost"`
}

func (t *tally) add(more *tally) {
	t.Accepted += more.Accepted
	t.Refused += more.Refused
	t.Waiting += more.Waiting
	t.Lost += more.Lost
	t.AppliedTwice += more.AppliedTwice
	t.Wrong += more.Wrong
	t.ForeignWrites += more.ForeignWrites
	t.ForeignWritesLost += more.ForeignWritesLost
}

// An audit compares the wallets with the ledger.
type audit struct {
	*judgement

	sent     map[place]*entry
	balances map[string][]int64          // by wallet and version, as the history tells
	sides    map[string]map[side]int     // by message ID
	steps    map[place]int               // of transfers
	purses   map[string]purseRow         // by ID
	verdicts map[place]versioning.Reason // other verdicts
}

// A side is a step of a transfer.
type side struct {
	place

	wallet string
	event  statemachine.Event
}

// wallets checks the wallets.
func (j *judgement) wallets(l *ledger, e evidence) {
	a := &audit{
		j, make(map[place]*entry), make(map[string][]int64), make(map[string]map[side]int), make(map[place]int),
		make(map[string]purseRow), make(map[place]versioning.Reason),
	}
	for i := range l.entries {
		a.sent[l.entries[i].at] = &l.entries[i]
	}
	for i := range e.steps {
		if e.steps[i].Machine == wallets.Name() {
			a.step(&e.steps[i])
		}
	}
	for _, p := range e.wallets.purses {
		a.purses[p.ID] = p
		a.purse(p)
	}
	a.sum()
	for i := range e.wallets.waits {
		a.wait(&e.wallets.waits[i])
	}
	for i := range e.wallets.dead {
		a.refusal(&e.wallets.dead[i])
	}
	a.transfers()
	a.fates(l)
}

// step adds a step of the history.
func (a *audit) step(s *step) {
	at := place{s.Partition, s.Offset}
	sent := a.sent[at]
	if sent == nil {
		a.report(&a.tally.Wrong, "step %+v is of a record that is not in the ledger", *s)
		return
	}
	balances := a.balances[s.Entity]
	if len(balances) == 0 {
		balances = []int64{0}
	}
	amount := sent.body.Amount
	if s.Event == debited {
		amount = -amount
	}
	balance := balances[len(balances)-1] + amount
	if balance < 0 {
		a.report(&a.tally.Wrong, "wallet %s has %d after step %+v", s.Entity, balance, *s)
	}
	a.balances[s.Entity] = append(balances, balance)
	if s.Event == founded {
		return
	}
	a.steps[at]++
	if a.sides[sent.id] == nil {
		a.sides[sent.id] = make(map[side]int)
	}
	a.sides[sent.id][side{at, s.Entity, s.Event}]++
}

// purse checks a wallet's row.
func (a *audit) purse(p purseRow) {
	a.tally.ForeignWrites += int(p.Writes)
	balances := a.balances[p.ID]
	if len(balances) == 0 {
		a.report(&a.tally.Wrong, "wallet %+v has no history", p)
		return
	}
	if ends := balances[len(balances)-1]; p.Balance != ends || (p.State == empty) != (ends == 0) {
		a.report(&a.tally.Wrong, "wallet %+v, but its history ends with %d", p, ends)
	}
	for _, n := range []int64{p.Seen, p.Visits} {
		switch {
		case n < p.Writes:
			a.report(&a.tally.ForeignWritesLost, "wallet %+v lacks writes of others", p)
			a.tally.ForeignWritesLost += int(p.Writes-n) - 1
		case n > p.Writes:
			a.report(&a.tally.Wrong, "wallet %+v has more writes than others made", p)
		}
	}
}

// sum checks that there is as much money as the wallets were founded with.
func (a *audit) sum() {
	var founded, total int64
	for _, balances := range a.balances {
		founded += balances[1]
	}
	for _, p := range a.purses {
		total += p.Balance
	}
	if total != founded {
		a.report(&a.tally.Wrong, "the wallets were founded with %d, but have %d", founded, total)
	}
}

// wait checks a parked record: its wallet must have too little.
func (a *audit) wait(k *keptRecord) {
	a.tally.Waiting++
	a.verdict(k)
	sent, has := a.sent[k.at()], a.purses[k.Entity].Balance
	if sent == nil || sent.fate != decided || k.Reason != versioning.ReasonNotYet || !sent.body.Waits || has >= sent.body.Amount {
		a.report(&a.tally.Wrong, "record %+v waits for a wallet that has %d", *k, has)
	}
}

// refusal checks a dead letter: its wallet must have had too little at some time.
func (a *audit) refusal(k *keptRecord) {
	a.tally.Refused++
	a.verdict(k)
	sent, balances := a.sent[k.at()], a.balances[k.Entity]
	var version, has, amount int64
	_, err := fmt.Sscanf(k.Detail, tooLittle, &version, &has, &amount)
	if err != nil || sent == nil || sent.fate != decided || sent.body.Waits || amount != sent.body.Amount || has >= amount ||
		version >= int64(len(balances)) || balances[version] != has {
		a.report(&a.tally.Wrong, "record %+v was refused, but %v had the balances %v", *k, k.Entity, balances)
	}
}

func (a *audit) verdict(k *keptRecord) {
	if other, ok := a.verdicts[k.at()]; ok || a.steps[k.at()] > 0 {
		a.report(&a.tally.Wrong, "record %+v has a second verdict: %d steps, %q", *k, a.steps[k.at()], other)
	}
	a.verdicts[k.at()] = k.Reason
}

// transfers checks that each transfer that was accepted is in both wallets, once.
func (a *audit) transfers() {
	for id, sides := range a.sides {
		a.tally.Accepted++
		debits, credits := 0, 0
		for s, n := range sides {
			body := a.sent[s.place].body
			switch {
			case s.event == debited && s.wallet == body.Account:
				debits += n
			case s.event == credited && s.wallet == body.To:
				credits += n
			default:
				a.report(&a.tally.Wrong, "transfer %s (%+v) made step %+v", id, body, s)
			}
			if a.steps[s.place] != 2 {
				a.report(&a.tally.Wrong, "record %v of transfer %s (%+v) made %d steps, want 2", s.place, id, body, a.steps[s.place])
			}
		}
		switch {
		case debits > 1 || credits > 1:
			a.report(&a.tally.AppliedTwice, "transfer %s has %d debits and %d credits: %v", id, debits, credits, sides)
		case debits+credits < 2:
			a.report(&a.tally.Lost, "transfer %s has %d debits and %d credits: %v", id, debits, credits, sides)
		}
	}
}

// fates checks that each transfer has a verdict. A record without one must be a duplicate.
func (a *audit) fates(l *ledger) {
	for i := range l.entries {
		r := &l.entries[i]
		if _, kept := a.verdicts[r.at]; r.fate == decided && !kept && len(a.sides[r.id]) == 0 {
			a.report(&a.tally.Lost, "transfer %s (record %v, %+v) has no verdict", r.id, r.at, r.body)
		}
	}
}
