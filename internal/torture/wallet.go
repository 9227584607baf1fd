package main

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Wallets are entities whose transitions compute: a transfer between two of them is one
// record that debits one and credits the other, or does nothing. Their table has no
// trigger, so that their rows are written as sets, and other writers; see [writeForeign].

const (
	empty  statemachine.State = "empty" // the balance is 0
	funded statemachine.State = "funded"

	founded  statemachine.Event = "founded"
	debited  statemachine.Event = "debited"
	credited statemachine.Event = "credited"

	// moved is the event of a message that debits one wallet and credits another.
	moved statemachine.Event = "moved"
)

// purse is the row of a wallet.
type purse struct {
	trail

	Balance int64 `db:"balance"`
	Seen    int64 `db:"seen"` // only other writers change it
}

// money is the data of the wallets' events.
type money struct {
	Amount int64
	Waits  bool // until the wallet has enough; otherwise the transfer is refused
}

var wallets = statemachine.MustCompile(statemachine.Definition{
	Name: "wallet", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: founded, To: funded, Do: statemachine.Do(credit)},
		{
			Event: debited, From: statemachine.In(empty, funded), To: empty,
			When: statemachine.When("of all it has", func(row purse, m money) bool { return row.Balance == m.Amount }),
			Do:   statemachine.Do(debit),
		},
		{Event: debited, From: statemachine.In(empty, funded), To: funded, Do: statemachine.Do(debit)},
		{Event: credited, From: statemachine.In(empty, funded), To: funded, Do: statemachine.Do(credit)},
		{Event: shut, From: statemachine.In(empty), To: closed}, // no message says so
	},
	Terminal: statemachine.In(closed),
})

func credit(f *statemachine.Firing, row *purse, m money) error {
	row.Balance += m.Amount
	return announce(f, &row.trail)
}

// tooLittle is the error of a refused transfer. The checker compares it with the history.
const tooLittle = "at version %d it has %d, less than %d"

// debit changes the row and sends its message before it decides: a refusal must undo both.
func debit(f *statemachine.Firing, row *purse, m money) error {
	row.Balance -= m.Amount
	if err := announce(f, &row.trail); err != nil {
		return err
	}
	if row.Balance >= 0 {
		return nil
	}
	err := fmt.Errorf(tooLittle, f.Version-1, row.Balance+m.Amount, m.Amount)
	if m.Waits {
		return statemachine.NotYet(err)
	}
	return err
}

// walletChanges returns the changes of a message about wallets.
func walletChanges(m message) []versioning.Change {
	data := money{m.Amount, m.Waits}
	if m.Event == founded {
		return []versioning.Change{{Machine: wallets.Name(), Key: m.Account, Event: founded, Data: data}}
	}
	from := versioning.Change{Machine: wallets.Name(), Key: m.Account, Event: debited, Data: data}
	to := versioning.Change{Machine: wallets.Name(), Key: m.To, Event: credited, Data: data}
	if m.CreditFirst { // a refusal must undo the credit
		return []versioning.Change{to, from}
	}
	return []versioning.Change{from, to}
}

const walletsEach = 4 // wallets per partition

func wallet(partition, i int) string { return fmt.Sprintf("wallet-%d-%d", partition, i) }

func (t *traffic) anyWallet() string {
	return wallet(t.random.IntN(t.partitions), t.random.IntN(walletsEach))
}

// found returns the message that founds the next wallet. ok is false if there are all.
func (t *traffic) found() (s sending, ok bool) {
	if t.wallets >= t.partitions*walletsEach {
		return s, false
	}
	p := t.wallets % t.partitions
	s = t.sending(p, message{Event: founded, Account: wallet(p, t.wallets/t.partitions)}, applied)
	s.body.Amount = 1 + t.random.Int64N(200)
	t.wallets++
	return s, true
}

// payment returns a transfer between two wallets, of which one may not be founded yet. What
// becomes of it depends on the order in which the partitions are read. Sometimes it is an
// earlier one again, perhaps on another partition.
func (t *traffic) payment() sending {
	p := t.random.IntN(t.partitions)
	if len(t.payments) > 0 && t.chance(0.1) {
		again := t.payments[t.random.IntN(len(t.payments))]
		again.partition = p
		return again
	}
	from, to := t.anyWallet(), t.anyWallet()
	for to == from {
		to = t.anyWallet()
	}
	s := t.sending(p, message{Event: moved, Account: from, To: to, CreditFirst: t.chance(0.5)}, decided)
	s.body.Amount = 1 + t.random.Int64N(100)
	if t.chance(0.05) {
		s.body.Waits, s.body.Amount = true, 1+t.random.Int64N(400)
	}
	t.payments = append(t.payments, s)
	return s
}
