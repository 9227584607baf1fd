package main

import (
	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/statemachine"
)

// The states of a payment.
const (
	Charging statemachine.State = "charging" // a job asks the provider for the money
	Unclear  statemachine.State = "unclear"  // it may have the money, but did not answer for too long; somebody must ask
	Declined statemachine.State = "declined"
	Charged  statemachine.State = "charged"
	Refunded statemachine.State = "refunded"
)

// The events that move a payment. Those after PaymentUnclear also move its order, both or
// neither.
const (
	PaymentRequested statemachine.Event = "payment.requested"
	PaymentUnclear   statemachine.Event = "payment.unclear"
	PaymentDeclined  statemachine.Event = "payment.declined"
	PaymentRetried   statemachine.Event = "payment.retried" // with another card
	PaymentCaptured  statemachine.Event = "payment.captured"
	PaymentRefunded  statemachine.Event = "payment.refunded"
)

// A PaymentRow has the columns of a payment. Its key is that of the order.
type PaymentRow struct {
	Amount decimal.Decimal `db:"amount"`
	Card   string          `db:"card"`
	Charge string          `db:"charge"` // the provider's ID of the charge
}

// A Request is the data of PaymentRequested.
type Request struct {
	Amount decimal.Decimal
	Card   string
}

// A Retry is the data of PaymentRetried.
type Retry struct{ Card string }

// Captured is the data of PaymentCaptured.
type Captured struct{ Charge string }

// Payment is the state machine of a payment.
var Payment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: PaymentRequested, To: Charging, Do: statemachine.Do(request)},
		{Event: PaymentDeclined, From: statemachine.In(Charging, Unclear), To: Declined},
		{Event: PaymentRetried, From: statemachine.In(Declined), To: Charging, Do: statemachine.Do(retry)},
		{Event: PaymentCaptured, From: statemachine.In(Charging, Unclear), To: Charged, Do: statemachine.Do(capture)},
		{Event: PaymentUnclear, From: statemachine.In(Charging), To: Unclear},
		{Event: PaymentRefunded, From: statemachine.In(Charged), To: Refunded},
	},
	Terminal: statemachine.In(Refunded),
})

// request causes a job. Each step that enqueues one has another key for the provider, and
// each attempt of the job has the same.
func request(f *statemachine.Firing, p *PaymentRow, r Request) error {
	p.Amount, p.Card = r.Amount, r.Card
	f.Enqueue(Charge{Amount: p.Amount, Card: p.Card})
	return nil
}

func retry(f *statemachine.Firing, p *PaymentRow, r Retry) error {
	p.Card = r.Card
	f.Enqueue(Charge{Amount: p.Amount, Card: p.Card})
	return nil
}

func capture(_ *statemachine.Firing, p *PaymentRow, c Captured) error {
	p.Charge = c.Charge
	return nil
}
