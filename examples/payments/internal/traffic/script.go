package traffic

import (
	"fmt"
	"math/rand/v2"
)

// Currencies are the currencies of payments and accounts.
var Currencies = []string{"EUR", "JPY", "USD"}

// rates are fee rates of merchants.
var rates = []string{"0", "0.0029", "0.014", "0.01999", "0.0345"}

// A script is the records about one payment or about the accounts of one book, in the order
// in which they are sent.
type script struct {
	key     string
	rng     *rand.Rand
	ids     int // number of message IDs used
	records []Record

	// Of a payment.
	amount   int64
	currency string
}

func newPayment(key string, rng *rand.Rand) *script {
	return &script{key: key, rng: rng, amount: 100 + rng.Int64N(50_000), currency: Currencies[rng.IntN(len(Currencies))]}
}

// live sets what happens to the payment without faults.
func (s *script) live() {
	switch p := s.rng.Float64(); {
	case p < 0.05:
		s.restart()
	case p < 0.12:
		s.restart(step{Voided, 0})
	case p < 0.20:
		s.restart(step{Captured, s.part()})
	case p < 0.40:
		first := s.part()
		second := 1 + s.rng.Int64N(s.amount-first)
		s.restart(step{Captured, first}, step{Captured, second})
		if rest := s.amount - first - second; rest > 0 {
			s.say(Captured, rest)
		}
	case p < 0.55:
		s.restart(step{Captured, s.amount}, step{Refunded, s.part()})
	case p < 0.65:
		first := s.part()
		s.restart(step{Captured, s.amount}, step{Refunded, first}, step{Refunded, s.amount - first})
	case p < 0.70:
		s.restart(step{Captured, s.amount}, step{Refunded, 1}, step{ChargedBack, s.part() - 1})
	default:
		s.restart(step{Captured, s.amount})
	}
}

// part returns an amount of at least 2 that is less than the payment's.
func (s *script) part() int64 { return 2 + s.rng.Int64N(s.amount-2) }

// A step is a message about a payment.
type step struct {
	kind   string
	amount int64
}

// restart replaces the payment's records with an authorization and these steps.
func (s *script) restart(steps ...step) {
	s.records = nil
	s.add(s.message(Authorized, s.amount))
	s.records[0].Message.FeeRate = rates[s.rng.IntN(len(rates))]
	for _, next := range steps {
		s.say(next.kind, next.amount)
	}
}

// say adds a record about the payment.
func (s *script) say(kind string, amount int64) { s.add(s.message(kind, amount)) }

func (s *script) message(kind string, amount int64) Message {
	m := Message{Type: kind, Payment: s.key, Amount: amount, Currency: s.currency}
	if kind == Voided {
		m.Currency = ""
	}
	return m
}

// add adds a record with a new message.
func (s *script) add(m Message) { s.records = append(s.records, s.record(m)) }

func (s *script) record(m Message) Record {
	s.ids++
	return Record{Key: s.key, ID: fmt.Sprintf("%s/%d", s.key, s.ids), Message: m}
}
