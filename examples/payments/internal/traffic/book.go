package traffic

import (
	"fmt"
	"strings"
)

const (
	accountsOfBook = 10  // accounts whose records are in one order
	recordsOfEach  = 12  // records about an account, on average
	houseDeposit   = 1e7 // more than the transfers of a book can take out
)

// A book is a group of accounts of one currency. All their records have the book as their
// key, so that they are in one partition, in one order: whether the money suffices for a
// transfer depends on what comes before it.
type book struct {
	*script
	accounts []string
}

// House reports whether an account is the house account of its book, the first one. It is
// so rich that the interest that colleagues add to it decides about no transfer.
func House(account string) bool { return strings.HasSuffix(account, "-00") }

func (b *book) open(accounts int) {
	for n := range accounts {
		b.accounts = append(b.accounts, fmt.Sprintf("%s-%02d", b.key, n))
	}
	var late []Message // accounts that others already transfer to
	for n, account := range b.accounts {
		m := Message{Type: Opened, Account: account, Amount: b.rng.Int64N(30_000), Currency: b.currency}
		switch p := b.rng.Float64(); {
		case n == 0:
			m.Amount = houseDeposit
			b.add(m)
		case p < 0.01: // never opened
		case p < 0.10:
			late = append(late, m)
		case p < 0.20:
			m.Amount = 0
			b.add(m)
		default:
			b.add(m)
		}
	}
	for range accounts * recordsOfEach {
		b.add(b.happens())
	}
	for _, m := range late {
		b.insertAnywhere(m)
	}
}

// happens returns a message about accounts of the book.
func (b *book) happens() Message {
	m := Message{Account: b.any(), Currency: b.currency}
	switch p := b.rng.Float64(); {
	case p < 0.10:
		m.Type, m.Amount = PaidIn, 1+b.rng.Int64N(10_000)
	case p < 0.13 && !House(m.Account):
		m.Type, m.Currency = Closed, ""
	case p < 0.135:
		m.Type, m.Amount = PaidIn, -1
	default:
		m = Message{Type: Transfer, From: b.any(), To: b.any(), Amount: 1 + b.rng.Int64N(12_000), Currency: b.currency}
		if b.rng.Float64() < 0.01 {
			m.Currency = other(b.currency)
		}
	}
	return m
}

func (b *book) any() string { return b.accounts[b.rng.IntN(len(b.accounts))] }

// other returns another currency.
func other(currency string) string {
	if currency == Currencies[0] {
		return Currencies[1]
	}
	return Currencies[0]
}

// deliver applies faults of delivery to the book. Each strikes about a twentieth of its
// records, and never the first, with which the house opens.
func (b *book) deliver() {
	house, rest := b.records[0], b.records[1:]
	b.records = rest
	for range len(rest)/20 + 1 {
		swapped(b.script)
		sentTwice(b.script)
		redelivered(b.script)
	}
	b.records = append([]Record{house}, b.records...)
}
