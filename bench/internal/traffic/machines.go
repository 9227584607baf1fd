package traffic

import (
	"fmt"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/statemachine"
)

// Order is the life of an order: four events, from placed to delivered.
var Order = statemachine.MustCompile(statemachine.Definition{
	Name: "order", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "order.placed", To: "pending"},
		{Event: "payment.captured", From: statemachine.In("pending"), To: "paid"},
		{Event: "order.shipped", From: statemachine.In("paid"), To: "shipped"},
		{Event: "order.delivered", From: statemachine.In("shipped"), To: "delivered"},
		{Event: "order.cancelled", From: statemachine.In("pending", "paid"), To: "cancelled"},
	},
	Terminal: statemachine.In("delivered", "cancelled"),
})

// Retiring is Order with a retired state.
var Retiring = func() *statemachine.Machine {
	d := Order.Definition()
	d.Name = "retiring-order"
	d.Migrations = []statemachine.Migration{{From: statemachine.In("waiting"), To: "pending"}}
	return statemachine.MustCompile(d)
}()

var orderEvents = []statemachine.Event{"order.placed", "payment.captured", "order.shipped", "order.delivered"}

// Account can move any number of times. It is used for hot keys and for old
// rows.
var Account = statemachine.MustCompile(statemachine.Definition{
	Name: "account", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: accountOpened, To: "active"},
		{Event: accountChanged, From: statemachine.In("active"), To: "active"},
		{Event: "account.closed", From: statemachine.In("active"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

const (
	accountOpened  statemachine.Event = "account.opened"
	accountChanged statemachine.Event = "account.changed"
)

// Machine returns the machine with that name. The bank's machine is derived
// from the event log bankLog.
func Machine(name, bankLog string) (*statemachine.Machine, error) {
	switch name {
	case Order.Name():
		return Order, nil
	case Account.Name():
		return Account, nil
	case Retiring.Name():
		return Retiring, nil
	case Payment.Name():
		return Payment, nil
	case Wallet.Name():
		return Wallet, nil
	case Expiring.Name():
		return Expiring, nil
	case BankName:
		log, err := banklog.Read(BankName, bankLog)
		if err != nil {
			return nil, err
		}
		return log.Machine()
	}
	return nil, fmt.Errorf("unknown machine %q", name)
}
