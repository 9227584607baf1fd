package main

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Bills are entities whose steps enqueue jobs: each demand asks a provider for a charge, see
// [provider], and the provider's answer is the next step. A demand that comes while another one
// is open waits for that.

const (
	charging statemachine.State = "charging" // a job asks the provider
	paid     statemachine.State = "paid"
	declined statemachine.State = "declined"

	billed    statemachine.Event = "billed"
	charged   statemachine.Event = "charged"
	turnedOff statemachine.Event = "declined" // by the provider
)

// A charge is a job of class Repeatable, and a fee one of class Queryable.
type (
	charge struct {
		Amount int64 `json:"amount"`
	}
	fee struct {
		Amount int64 `json:"amount"`
	}
)

// Kind is River's name of the job.
func (charge) Kind() string { return "charge" }

// Kind is River's name of the job.
func (fee) Kind() string { return "fee" }

// isDeclined reports whether the provider declines an amount.
func isDeclined(amount int64) bool { return amount%5 == 0 }

// A demand is the data of billed, and a receipt that of charged and turnedOff.
type (
	demand struct {
		Amount int64
		IsFee  bool
	}
	receipt struct{ ID string }
)

// billRow is the row of a bill.
type billRow struct {
	trail

	Receipt string `db:"receipt"` // of the last demand; empty while it is open
}

var bills = statemachine.MustCompile(statemachine.Definition{
	Name: "bill", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: billed, To: charging, Do: statemachine.Do(ask)},
		{Event: billed, From: statemachine.In(paid, declined), To: charging, Do: statemachine.Do(ask)},
		{Event: charged, From: statemachine.In(charging), To: paid, Do: statemachine.Do(keepReceipt)},
		{Event: turnedOff, From: statemachine.In(charging), To: declined, Do: statemachine.Do(keepReceipt)},
		{Event: shut, From: statemachine.In(paid, declined), To: closed}, // no message says so
	},
	Terminal: statemachine.In(closed),
})

func ask(f *statemachine.Firing, row *billRow, d demand) error {
	row.Receipt = ""
	if d.IsFee {
		f.Enqueue(fee{d.Amount})
	} else {
		f.Enqueue(charge{d.Amount})
	}
	return announce(f, &row.trail)
}

func keepReceipt(f *statemachine.Firing, row *billRow, r receipt) error {
	row.Receipt = r.ID
	return announce(f, &row.trail)
}

// resultOf returns the change that the provider's answer to a demand is. Until then the bill
// stays at the version that the demand has led to. That is said because a call may outlast a
// failover that has lost its demand: its answer must not count for an earlier demand.
func resultOf(version, amount int64, id string) versioning.Change {
	event := charged
	if isDeclined(amount) {
		event = turnedOff
	}
	return versioning.Change{Event: event, Data: receipt{id}, Expected: versioning.At(version)}
}

// A debtor is what the producer knows about a bill that it still sends demands about.
type debtor struct {
	key       string
	partition int
	left      int // demands
	sent      []sending
}

const openBills = 20

// bill returns the next demand.
func (t *traffic) bill() sending {
	if len(t.bills) < openBills {
		t.billed++
		t.bills = append(t.bills, &debtor{key: fmt.Sprintf("bill-%d", t.billed), partition: t.random.IntN(t.partitions), left: 1 + t.random.IntN(3)})
		return t.demand(len(t.bills) - 1)
	}
	i := t.random.IntN(len(t.bills))
	if b := t.bills[i]; t.chance(0.1) {
		return b.sent[t.random.IntN(len(b.sent))] // again
	}
	return t.demand(i)
}

func (t *traffic) demand(i int) sending {
	b := t.bills[i]
	s := t.sending(b.partition, message{Event: billed, Account: b.key, IsFee: t.chance(0.5)}, applied)
	b.sent = append(b.sent, s)
	if b.left--; b.left == 0 {
		t.bills[i] = t.bills[len(t.bills)-1]
		t.bills = t.bills[:len(t.bills)-1]
	}
	return s
}

func billChanges(m message) []versioning.Change {
	return []versioning.Change{{Machine: bills.Name(), Key: m.Account, Event: billed, Data: demand{m.Amount, m.IsFee}}}
}
