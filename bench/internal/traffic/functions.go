package traffic

import (
	"fmt"

	"github.com/pawl-go/pawl/statemachine"
)

// Events of payments and wallets.
const (
	PaymentAuthorized statemachine.Event = "payment.authorized"
	PaymentCaptured   statemachine.Event = "payment.captured"
	PaymentRefunded   statemachine.Event = "payment.refunded"
	WalletOpened      statemachine.Event = "wallet.opened"
	WalletChanged     statemachine.Event = "wallet.changed"
)

// An Entry is the data of the events of payments and wallets.
type Entry struct {
	Amount int64 `json:"amount"`
}

type paymentRow struct {
	Amount   int64 `db:"amount"`
	Captured int64 `db:"captured"`
	Refunded int64 `db:"refunded"`
}

type walletRow struct {
	Balance int64 `db:"balance"`
}

// Payment is a payment of which parts are captured, up to what was authorized, and then
// refunded, up to what was captured. Its functions compute the columns.
var Payment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: PaymentAuthorized, To: "authorized", Do: statemachine.Do(authorize)},
		{
			Event: PaymentCaptured, From: statemachine.In("authorized", "part_captured"), To: "captured",
			When: statemachine.When("covers the rest", coversRest), Do: statemachine.Do(capture),
		},
		{Event: PaymentCaptured, From: statemachine.In("authorized", "part_captured"), To: "part_captured", Do: statemachine.Do(capture)},
		{Event: PaymentRefunded, From: statemachine.In("part_captured", "captured"), To: "refunded", Do: statemachine.Do(refund)},
	},
	Terminal: statemachine.In("refunded"),
})

func authorize(_ *statemachine.Firing, row *paymentRow, e Entry) error {
	row.Amount = e.Amount
	return nil
}

func coversRest(row paymentRow, e Entry) bool { return row.Captured+e.Amount == row.Amount }

func capture(_ *statemachine.Firing, row *paymentRow, e Entry) error {
	if rest := row.Amount - row.Captured; e.Amount > rest {
		return fmt.Errorf("only %d can be captured", rest)
	}
	row.Captured += e.Amount
	return nil
}

func refund(_ *statemachine.Firing, row *paymentRow, e Entry) error {
	if rest := row.Captured - row.Refunded; e.Amount > rest {
		return fmt.Errorf("only %d can be refunded", rest)
	}
	row.Refunded += e.Amount
	return nil
}

// Wallet is an account with a balance, which its functions compute.
var Wallet = statemachine.MustCompile(statemachine.Definition{
	Name: "wallet", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: WalletOpened, To: "active", Do: statemachine.Do(deposit)},
		{Event: WalletChanged, From: statemachine.In("active"), To: "active", Do: statemachine.Do(deposit)},
		{Event: "wallet.closed", From: statemachine.In("active"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

func deposit(_ *statemachine.Firing, row *walletRow, e Entry) error {
	row.Balance += e.Amount
	return nil
}

// WithoutFunctions returns the same machine as [Payment] or [Wallet], but its messages must
// bring the values of the columns. It can't tell which capture is the last.
func WithoutFunctions(name string) (*statemachine.Machine, error) {
	switch name {
	case Payment.Name():
		return statemachine.Compile(statemachine.Definition{
			Name: name, Version: 1,
			Transitions: []statemachine.Transition{
				{Event: PaymentAuthorized, To: "authorized"},
				{Event: PaymentCaptured, From: statemachine.In("authorized", "part_captured"), To: "part_captured"},
				{Event: PaymentRefunded, From: statemachine.In("part_captured"), To: "refunded"},
			},
			Terminal: statemachine.In("refunded"),
		})
	case Wallet.Name():
		return statemachine.Compile(statemachine.Definition{
			Name: name, Version: 1,
			Transitions: []statemachine.Transition{
				{Event: WalletOpened, To: "active"},
				{Event: WalletChanged, From: statemachine.In("active"), To: "active"},
				{Event: "wallet.closed", From: statemachine.In("active"), To: "closed"},
			},
			Terminal: statemachine.In("closed"),
		})
	}
	return nil, fmt.Errorf("machine %q has no functions", name)
}
