package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shopspring/decimal"
)

// A Charge is one decision about a card.
type Charge struct {
	ID       string          `json:"id"`
	Key      string          `json:"key"` // the idempotency key
	Order    string          `json:"order"`
	Amount   decimal.Decimal `json:"amount"`
	Card     string          `json:"card"`
	Captured bool            `json:"captured"` // false: the card was declined
}

// A Refund is money that went back.
type Refund struct {
	Charge string          `json:"charge"` // its ID
	Amount decimal.Decimal `json:"amount"`
}

// A Ledger is what a provider has done.
type Ledger struct {
	Charges []Charge `json:"charges"`
	Refunds []Refund `json:"refunds"`

	// Requests is the number of requests, and Faults that of those which did not get a
	// proper answer, by name.
	Requests int            `json:"requests"`
	Faults   map[string]int `json:"faults"`
}

// Declines reports whether the provider declines a card: its number ends in 0002.
func Declines(card string) bool { return strings.HasSuffix(card, "0002") }

// A book is a Ledger that is being written.
type book struct {
	mu     sync.Mutex
	ledger Ledger
	byKey  map[string]int // index in ledger.Charges
	ids    map[string]bool
	tries  map[string]int // requests by what they are about
}

func newBook() *book {
	return &book{
		byKey: make(map[string]int), ids: make(map[string]bool), tries: make(map[string]int),
		ledger: Ledger{Faults: make(map[string]int)},
	}
}

// copy returns the ledger as it is now.
func (b *book) copy() Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger
	l.Charges, l.Refunds = slices.Clone(l.Charges), slices.Clone(l.Refunds)
	l.Faults = maps.Clone(l.Faults)
	return l
}

// arrive counts a request, and returns how many there were before it and how many of them
// were about the same thing.
func (b *book) arrive(about string) (all, same int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, same = b.ledger.Requests, b.tries[about]
	b.ledger.Requests++
	b.tries[about]++
	return all, same
}

func (b *book) failed(fault string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger.Faults[fault]++
}

// charge charges a card, unless there is a charge with the key. ok is false if that one was
// for something else.
func (b *book) charge(c Charge) (made Charge, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, known := b.byKey[c.Key]; known {
		made = b.ledger.Charges[i]
		return made, made.Order == c.Order && made.Amount.Equal(c.Amount) && made.Card == c.Card
	}
	c.ID = fmt.Sprintf("ch_%06d", len(b.ledger.Charges)+1)
	c.Captured = !Declines(c.Card)
	b.byKey[c.Key], b.ids[c.ID] = len(b.ledger.Charges), true
	b.ledger.Charges = append(b.ledger.Charges, c)
	return c, true
}

// refund gives money back. ok is false if there is no such charge.
func (b *book) refund(r Refund) (ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ids[r.Charge] {
		return false
	}
	b.ledger.Refunds = append(b.ledger.Refunds, r)
	return true
}

func (b *book) refunded(charge string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.ledger.Refunds, func(r Refund) bool { return r.Charge == charge })
}
