package main

import (
	"errors"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A message is what other services write to the topic as JSON. Its ID is in the headers
// ce_source and ce_id, where the consumer finds it automatically.
type message struct {
	Type statemachine.Event `json:"type"`

	Payment string `json:"payment"` // payment.*
	Account string `json:"account"` // account.*
	From    string `json:"from"`    // transfer.made
	To      string `json:"to"`      // transfer.made

	Amount   int64           `json:"amount"` // in the smallest unit, so 12.50 is not a legal value
	Currency string          `json:"currency"`
	FeeRate  decimal.Decimal `json:"fee_rate"` // payment.authorized
}

// TransferMade is the type of a message that moves two accounts.
const TransferMade = "transfer.made"

// decode returns the changes that a record asks for. If it returns an error, the record
// becomes a dead letter and the worker continues.
var decode = consumer.JSON(changes)

func changes(m message, _ *versioning.Record) ([]versioning.Change, error) {
	money := Money{Amount: m.Amount, Currency: m.Currency}
	switch m.Type {
	case PaymentAuthorized:
		return one(Payment, m.Payment, m.Type, Authorization{Money: money, FeeRate: m.FeeRate})
	case PaymentCaptured, PaymentRefunded, PaymentChargedBack:
		return one(Payment, m.Payment, m.Type, money)
	case PaymentVoided:
		return one(Payment, m.Payment, m.Type, nil)
	case AccountOpened, AccountPaidIn:
		return one(Account, m.Account, m.Type, money)
	case AccountClosed:
		return one(Account, m.Account, m.Type, nil)
	case TransferMade:
		return transfer(m.From, m.To, money)
	}
	return nil, versioning.Refuse(versioning.ReasonUnknownEvent, "unknown message type %q", m.Type)
}

var errNoKey = errors.New("the message does not name its payment or account")

func one(machine *statemachine.Machine, key string, event statemachine.Event, data any) ([]versioning.Change, error) {
	if key == "" {
		return nil, errNoKey
	}
	return []versioning.Change{{Machine: machine.Name(), Key: key, Event: event, Data: data}}, nil
}

// transfer returns two changes. The store makes both or none.
func transfer(from, to string, money Money) ([]versioning.Change, error) {
	switch {
	case from == "" || to == "":
		return nil, errNoKey
	case from == to:
		return nil, versioning.Refuse(versioning.ReasonRefused, "account %q can't transfer to itself", from)
	}
	return []versioning.Change{
		{Machine: Account.Name(), Key: from, Event: AccountDebited, Data: money},
		{Machine: Account.Name(), Key: to, Event: AccountCredited, Data: money},
	}, nil
}
