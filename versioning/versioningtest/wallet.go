package versioningtest

import (
	"errors"
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// wallet is a machine whose transitions compute: its row has a column that may be NULL,
// and one that is an array.
const wallet = "wallet"

type walletRow struct {
	Balance int64    `db:"balance"`
	Credit  *int64   `db:"credit"`
	Notes   []string `db:"notes"`
}

type walletOpened struct{ Credit *int64 }

type walletMoved struct {
	Amount int64
	Notes  []string
	After  int64 // not before the balance is that
}

var walletMachine = statemachine.MustCompile(statemachine.Definition{
	Name: wallet, Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "empty", Do: statemachine.Do(openWallet)},
		{
			Event: "moved", From: statemachine.In("empty", "filled"), To: "empty",
			When: statemachine.When("nothing is left", nothingIsLeft), Do: statemachine.Do(moveMoney),
		},
		{Event: "moved", From: statemachine.In("empty", "filled"), To: "filled", Do: statemachine.Do(moveMoney)},
		{
			Event: "closed", From: statemachine.In("empty"), To: "closed",
			When: statemachine.When("it was used", func(row walletRow, _ struct{}) bool { return len(row.Notes) > 0 }),
		},
	},
	Terminal: statemachine.In("closed"),
})

func openWallet(_ *statemachine.Firing, row *walletRow, e walletOpened) error {
	row.Credit = e.Credit
	return nil
}

func nothingIsLeft(row walletRow, e walletMoved) bool { return row.Balance+e.Amount == 0 }

// moveMoney changes everything that a row can share with another one before it decides:
// a refusal must undo that.
func moveMoney(f *statemachine.Firing, row *walletRow, e walletMoved) error {
	before := row.Balance
	row.Balance += e.Amount
	for i := range row.Notes {
		row.Notes[i] += "."
	}
	row.Notes = append(row.Notes, e.Notes...)
	for i := range e.Notes {
		e.Notes[i] = "changed by the action"
	}
	least := int64(0)
	if row.Credit != nil {
		least = -*row.Credit
		*row.Credit++
	}
	switch {
	case row.Balance < least:
		return fmt.Errorf("version %d would leave %d", f.Version, row.Balance)
	case before < e.After:
		return statemachine.NotYet(errors.New("the balance is too low"))
	}
	return nil
}
