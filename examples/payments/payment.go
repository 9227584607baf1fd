package main

import (
	"errors"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/pawl-go/pawl/statemachine"
)

// The states of a payment.
const (
	Authorized  statemachine.State = "authorized"
	Partly      statemachine.State = "partly_captured"
	Captured    statemachine.State = "captured"
	Refunded    statemachine.State = "refunded" // completely
	ChargedBack statemachine.State = "charged_back"
	Voided      statemachine.State = "voided"
)

// The events that move a payment.
const (
	PaymentAuthorized  statemachine.Event = "payment.authorized"
	PaymentCaptured    statemachine.Event = "payment.captured"
	PaymentRefunded    statemachine.Event = "payment.refunded"
	PaymentChargedBack statemachine.Event = "payment.charged_back"
	PaymentVoided      statemachine.Event = "payment.voided"
)

// A PaymentRow has the columns of a payment that its transitions read and write. The table
// has others, which belong to colleagues: the framework never touches those.
type PaymentRow struct {
	Currency    string `db:"currency"`
	Authorized  int64  `db:"authorized"` // all amounts are in the currency's smallest unit
	Captured    int64  `db:"captured"`
	Refunded    int64  `db:"refunded"`
	ChargedBack int64  `db:"charged_back"`

	FeeRate decimal.Decimal `db:"fee_rate"` // 0.014 is 1.4 %
	Fees    decimal.Decimal `db:"fees"`     // for reports: exact to 1/10000 of the smallest unit
}

// kept is what the merchant still has of the captured money.
func (p PaymentRow) kept() int64 { return p.Captured - p.Refunded - p.ChargedBack }

// Money is an amount in the smallest unit of its currency.
type Money struct {
	Amount   int64
	Currency string
}

// An Authorization is the data of PaymentAuthorized.
type Authorization struct {
	Money   Money
	FeeRate decimal.Decimal
}

// Payment is the state machine of a payment. Its functions are pure: they may run several
// times for one record.
var Payment = statemachine.MustCompile(statemachine.Definition{
	Name: "payment", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: PaymentAuthorized, To: Authorized, Do: statemachine.Do(authorize)},
		{
			Event: PaymentCaptured, From: statemachine.In(Authorized, Partly), To: Captured,
			When: statemachine.When("covers the rest", coversTheRest), Do: statemachine.Do(capture),
		},
		{Event: PaymentCaptured, From: statemachine.In(Authorized, Partly), To: Partly, Do: statemachine.Do(capture)},
		{Event: PaymentVoided, From: statemachine.In(Authorized), To: Voided},
		{Event: PaymentRefunded, From: statemachine.In(Partly), To: Partly, Do: statemachine.Do(refund)},
		{
			Event: PaymentRefunded, From: statemachine.In(Captured), To: Refunded,
			When: statemachine.When("returns everything", returnsEverything), Do: statemachine.Do(refund),
		},
		{Event: PaymentRefunded, From: statemachine.In(Captured), To: Captured, Do: statemachine.Do(refund)},
		{Event: PaymentChargedBack, From: statemachine.In(Partly, Captured), To: ChargedBack, Do: statemachine.Do(chargeBack)},
	},
	Terminal: statemachine.In(Refunded, ChargedBack, Voided),
})

func coversTheRest(p PaymentRow, m Money) bool { return m.Amount == p.Authorized-p.Captured }

func returnsEverything(p PaymentRow, m Money) bool { return m.Amount == p.kept() }

func authorize(_ *statemachine.Firing, p *PaymentRow, a Authorization) error {
	switch {
	case a.Money.Amount <= 0:
		return fmt.Errorf("the amount to authorize is %d; it must be positive", a.Money.Amount)
	case a.FeeRate.IsNegative():
		return fmt.Errorf("the fee rate is %s; it must not be negative", a.FeeRate)
	}
	p.Currency, p.Authorized, p.FeeRate = a.Money.Currency, a.Money.Amount, a.FeeRate
	return nil
}

func capture(_ *statemachine.Firing, p *PaymentRow, m Money) error {
	if err := p.accepts(m); err != nil {
		return err
	}
	if rest := p.Authorized - p.Captured; m.Amount > rest {
		return fmt.Errorf("captures would exceed the authorized %d: %d are captured, and this one is for %d",
			p.Authorized, p.Captured, m.Amount)
	}
	p.Captured += m.Amount
	p.Fees = p.Fees.Add(fee(m.Amount, p.FeeRate))
	return nil
}

// feePlaces is the number of decimal places of a fee, as in the column.
const feePlaces = 4

// fee returns the fee for a capture. Halves are rounded to even, so that the errors of many
// captures cancel each other out.
func fee(amount int64, rate decimal.Decimal) decimal.Decimal {
	return decimal.NewFromInt(amount).Mul(rate).RoundBank(feePlaces)
}

func refund(f *statemachine.Firing, p *PaymentRow, m Money) error {
	if err := p.takesBack(f, m, "refunded"); err != nil {
		return err
	}
	p.Refunded += m.Amount
	return nil
}

func chargeBack(f *statemachine.Firing, p *PaymentRow, m Money) error {
	if err := p.takesBack(f, m, "charged back"); err != nil {
		return err
	}
	p.ChargedBack += m.Amount
	return nil
}

// takesBack checks that the merchant has the money that is to go back. If too little was
// captured so far, but more may be, the record waits for the next capture.
func (p PaymentRow) takesBack(f *statemachine.Firing, m Money, how string) error {
	if err := p.accepts(m); err != nil {
		return err
	}
	if m.Amount <= p.kept() {
		return nil
	}
	err := fmt.Errorf("%d can't be %s: %d were captured, and %d of them have gone back", m.Amount, how, p.Captured, p.Captured-p.kept())
	couldStill := p.kept() + p.Authorized - p.Captured
	if f.From == Partly && m.Amount <= couldStill {
		return statemachine.NotYet(err)
	}
	return err
}

// accepts checks what every amount must be.
func (p PaymentRow) accepts(m Money) error { return check(m, p.Currency) }

var errNotPositive = errors.New("the amount must be positive")

func check(m Money, currency string) error {
	switch {
	case m.Amount <= 0:
		return fmt.Errorf("%w; it is %d", errNotPositive, m.Amount)
	case m.Currency != currency:
		return fmt.Errorf("the amount is in %q, but the account or payment is in %q", m.Currency, currency)
	}
	return nil
}
