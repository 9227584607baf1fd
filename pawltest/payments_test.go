package pawltest_test

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// The states of a payment.
const (
	Authorized statemachine.State = "authorized"
	Partly     statemachine.State = "partly"
	Captured   statemachine.State = "captured"
	Refunded   statemachine.State = "refunded"
	Voided     statemachine.State = "voided"
)

// A Payment is the row of a payment.
type Payment struct {
	Amount   int64  `db:"amount"`
	Captured int64  `db:"captured"`
	Refunded int64  `db:"refunded"`
	Note     string `db:"note"`
}

// Money is the data of most events.
type Money struct{ Amount int64 }

// A Note is the data of payment.noted.
type Note struct{ Text string }

// An Entry is a message to the ledger.
type Entry struct {
	Payment string
	Amount  int64
}

// mistakes says which mistakes to make. The zero value is the correct machine.
type mistakes struct {
	impure   bool // a function reads the clock
	loses    bool // a branch loses money
	orders   bool // the order of two events decides what is in the row
	noNotYet bool // a refund that comes before its capture is refused for good
	twice    bool // Decode ignores the ID of a message
}

// payments returns the machine of payments.
func payments(m mistakes) *statemachine.Machine {
	capture := m.capture
	return statemachine.MustCompile(statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "payment.authorized", To: Authorized, Do: statemachine.Do(authorize)},
			{
				Event: "payment.captured", From: statemachine.In(Authorized, Partly), To: Captured,
				When: statemachine.When("covers the rest", coversTheRest), Do: statemachine.Do(m.captureRest),
			},
			{Event: "payment.captured", From: statemachine.In(Authorized, Partly), To: Partly, Do: statemachine.Do(capture)},
			{Event: "payment.noted", From: statemachine.In(Authorized), To: Authorized, Do: statemachine.Do(m.note)},
			{
				Event: "payment.refunded", From: statemachine.In(Captured), To: Refunded,
				When: statemachine.When("returns everything", returnsAll), Do: statemachine.Do(m.refund),
			},
			{Event: "payment.refunded", From: statemachine.In(Partly), To: Partly, Do: statemachine.Do(m.refund)},
			{Event: "payment.refunded", From: statemachine.In(Captured), To: Captured, Do: statemachine.Do(m.refund)},
			{Event: "payment.voided", From: statemachine.In(Authorized), To: Voided},
			{Event: "payment.expired", From: statemachine.In(Authorized), To: Voided, After: 7 * 24 * time.Hour},
		},
		Terminal: statemachine.In(Refunded, Voided),
	})
}

func authorize(_ *statemachine.Firing, p *Payment, m Money) error {
	if m.Amount <= 0 {
		return errors.New("the amount must be positive")
	}
	p.Amount = m.Amount
	return nil
}

func coversTheRest(p Payment, m Money) bool { return p.Captured+m.Amount == p.Amount }

func returnsAll(p Payment, m Money) bool {
	return p.Refunded+m.Amount == p.Captured
}

func (mistakes) capture(f *statemachine.Firing, p *Payment, m Money) error {
	if p.Captured+m.Amount > p.Amount {
		return fmt.Errorf("captures would exceed the %d authorized", p.Amount)
	}
	p.Captured += m.Amount
	f.Emit("ledger", Entry{f.Key, m.Amount})
	return nil
}

func (wrong mistakes) captureRest(f *statemachine.Firing, p *Payment, m Money) error {
	if wrong.loses && p.Captured > 0 {
		p.Captured += m.Amount // and nothing for the ledger
		return nil
	}
	return wrong.capture(f, p, m)
}

func (wrong mistakes) note(f *statemachine.Firing, p *Payment, n Note) error {
	p.Note = n.Text
	if wrong.impure {
		p.Note += time.Now().Format(" (January 2006)")
	}
	return nil
}

func (wrong mistakes) refund(f *statemachine.Firing, p *Payment, m Money) error {
	if p.Refunded+m.Amount > p.Captured {
		err := fmt.Errorf("%d can't be refunded: %d are captured", m.Amount, p.Captured)
		if p.Refunded+m.Amount <= p.Amount && !wrong.noNotYet {
			return statemachine.NotYet(err)
		}
		return err
	}
	p.Refunded += m.Amount
	if wrong.orders {
		p.Note = fmt.Sprintf("%d %% refunded", 100*p.Refunded/p.Captured)
	}
	f.Emit("ledger", Entry{f.Key, -m.Amount})
	return nil
}

// walkOf returns the walk of a machine with mistakes.
func walkOf(m mistakes) pawltest.Walk {
	return pawltest.Walk{
		Config: pawltest.Config{Tables: []postgres.Table{{Machine: payments(m), Name: "payments"}}, Decode: decodeOf(m)},
		Data: map[statemachine.Event][]any{
			"payment.authorized": {Money{100}},
			"payment.captured":   {Money{100}, Money{40}, Money{60}},
			"payment.refunded":   {Money{100}, Money{40}},
			"payment.noted":      {Note{"fragile"}},
		},
		Invariants: []pawltest.Invariant{ledgerAgrees, neverTooMuch},
		Sources:    [][]statemachine.Event{{"payment.authorized", "payment.captured", "payment.noted", "payment.voided"}, {"payment.refunded"}},
	}
}

var ledgerAgrees = pawltest.Each("the ledger has what was captured and refunded", func(e *pawltest.Entity, p Payment) error {
	var sum int64
	for _, m := range e.Messages {
		entry, err := pawltest.ValueOf[Entry](m)
		if err != nil {
			return err
		}
		sum += entry.Amount
	}
	if want := p.Captured - p.Refunded; sum != want {
		return fmt.Errorf("the entries add up to %d, want %d", sum, want)
	}
	return nil
})

var neverTooMuch = pawltest.Each("no more is captured than authorized", func(e *pawltest.Entity, p Payment) error {
	if p.Captured > p.Amount || p.Refunded > p.Captured {
		return fmt.Errorf("%+v", p)
	}
	return nil
})

// A wire is what producers send.
type wire struct {
	ID      string             `json:"id"`
	Type    statemachine.Event `json:"type"`
	Payment string             `json:"payment"`
	Amount  int64              `json:"amount"`
	Text    string             `json:"text,omitempty"`
}

// decodeOf returns the Decode of workers.
func decodeOf(m mistakes) consumer.DecodeFunc {
	return consumer.JSON(func(w wire, _ *versioning.Record) ([]versioning.Change, error) {
		c := versioning.Change{Key: w.Payment, Event: w.Type, MessageID: w.ID, Data: Money{w.Amount}}
		switch w.Type {
		case "payment.noted":
			c.Data = Note{w.Text}
		case "payment.voided", "payment.expired":
			c.Data = nil
		}
		if m.twice {
			c.MessageID = ""
		}
		return []versioning.Change{c}, nil
	})
}

// recordsOf returns the records that producers send.
func recordsOf(id string) (all []pawltest.Record) {
	for _, w := range []wire{
		{Type: "payment.authorized", Amount: 100},
		{Type: "payment.captured", Amount: 100},
		{Type: "payment.captured", Amount: 40},
		{Type: "payment.captured", Amount: 60},
		{Type: "payment.refunded", Amount: 100},
		{Type: "payment.refunded", Amount: 40},
		{Type: "payment.noted", Text: "fragile"},
		{Type: "payment.voided"},
	} {
		value := `{"id":` + strconv.Quote(id) + `,"type":"` + string(w.Type) + `","payment":"e1"`
		if w.Amount != 0 {
			value += `,"amount":` + fmt.Sprint(w.Amount)
		}
		if w.Text != "" {
			value += `,"text":"` + w.Text + `"`
		}
		all = append(all, pawltest.Record{Topic: "payments", Key: "e1", Value: value + "}"})
	}
	return all
}
