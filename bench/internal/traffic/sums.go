package traffic

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/pawl-go/pawl/statemachine"
)

// Columns returns the columns in which the entities of a machine keep sums of amounts, or
// nil if they keep none. All are bigint.
func Columns(machine string) []string {
	switch machine {
	case Payment.Name():
		return []string{"amount", "captured", "refunded"}
	case Wallet.Name():
		return []string{"balance"}
	}
	return nil
}

// Sums are the values of an entity's columns, in the order of [Columns].
type Sums [3]int64

// Add adds an event's amount to the column that the event changes, and returns the
// column's new value.
func (s *Sums) Add(e statemachine.Event, amount int64) int64 {
	at := ColumnOf(e)
	s[at] += amount
	return s[at]
}

// ColumnOf returns the index of the column that an event changes.
func ColumnOf(e statemachine.Event) int {
	switch e {
	case PaymentCaptured:
		return 1
	case PaymentRefunded:
		return 2
	}
	return 0
}

var paymentEvents = []statemachine.Event{PaymentAuthorized, PaymentCaptured, PaymentCaptured, PaymentCaptured, PaymentRefunded}

// Payments generates payments with five events each: they are authorized, captured in
// three parts, and partly refunded.
func Payments(run string, payments int) iter.Seq[Event] {
	return rolling(payments, func(i int) entity {
		total := int64(1000 + i*7919%90_000)
		return entity{
			key:     fmt.Sprintf("pay-%s-%07d", run, i),
			events:  paymentEvents,
			amounts: []int64{total, total / 2, total / 3, total - total/2 - total/3, total / 4},
		}
	})
}

// HotAccount generates deposits. A tenth of them is for one account, the others are spread
// over the rest.
func HotAccount(run string, accounts, records int) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		random := rand.New(rand.NewPCG(4, uint64(records)))
		counts, balances := make([]int, accounts), make([]int64, accounts)
		for range records {
			i := 0
			if random.IntN(10) > 0 {
				i = 1 + random.IntN(accounts-1)
			}
			key := fmt.Sprintf("acc-%s-%07d", run, i)
			event := Event{Key: key, Name: WalletChanged, ID: messageID(key, counts[i]), Amount: 1 + random.Int64N(10_000)}
			if counts[i] == 0 {
				event.Name = WalletOpened
			}
			counts[i]++
			balances[i] += event.Amount
			event.After = balances[i]
			if !yield(event) {
				return
			}
		}
	}
}
