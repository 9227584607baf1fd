package main

import (
	"fmt"
	"math"

	"github.com/pawl-go/pawl/statemachine"
)

// The states of an account.
const (
	Open   statemachine.State = "open"
	Closed statemachine.State = "closed"
)

// The events that move an account. A transfer is one record with two of them, one for each
// account: both happen, or neither.
const (
	AccountOpened   statemachine.Event = "account.opened"
	AccountPaidIn   statemachine.Event = "account.paid_in"
	AccountDebited  statemachine.Event = "account.debited"
	AccountCredited statemachine.Event = "account.credited"
	AccountClosed   statemachine.Event = "account.closed"
)

// An AccountRow has the columns of an account that its transitions read and write.
type AccountRow struct {
	Currency string `db:"currency"`
	Balance  int64  `db:"balance"` // in the currency's smallest unit; never below zero
}

// Account is the state machine of an account.
var Account = statemachine.MustCompile(statemachine.Definition{
	Name: "account", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: AccountOpened, To: Open, Do: statemachine.Do(openAccount)},
		{Event: AccountPaidIn, From: statemachine.In(Open), To: Open, Do: statemachine.Do(credit)},
		{Event: AccountDebited, From: statemachine.In(Open), To: Open, Do: statemachine.Do(debit)},
		{Event: AccountCredited, From: statemachine.In(Open), To: Open, Do: statemachine.Do(credit)},
		{
			Event: AccountClosed, From: statemachine.In(Open), To: Closed,
			When: statemachine.When("it is empty", isEmpty), // without an otherwise: the record is rejected
		},
	},
	Terminal: statemachine.In(Closed),
})

func isEmpty(a AccountRow, _ struct{}) bool { return a.Balance == 0 }

// openAccount opens an account with a first deposit, which may be zero.
func openAccount(_ *statemachine.Firing, a *AccountRow, m Money) error {
	if m.Amount < 0 {
		return fmt.Errorf("the first deposit is %d; it must not be negative", m.Amount)
	}
	a.Currency, a.Balance = m.Currency, m.Amount
	return nil
}

func credit(_ *statemachine.Firing, a *AccountRow, m Money) error {
	if err := check(m, a.Currency); err != nil {
		return err
	}
	if m.Amount > math.MaxInt64-a.Balance {
		return fmt.Errorf("the balance of %d has no room for %d more", a.Balance, m.Amount)
	}
	a.Balance += m.Amount
	return nil
}

func debit(_ *statemachine.Firing, a *AccountRow, m Money) error {
	if err := check(m, a.Currency); err != nil {
		return err
	}
	if m.Amount > a.Balance {
		return fmt.Errorf("the balance is %d, which is less than %d", a.Balance, m.Amount)
	}
	a.Balance -= m.Amount
	return nil
}
