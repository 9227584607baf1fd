package traffic

import "slices"

// A Fault is something that goes wrong with the records of a payment.
type Fault struct {
	Name  string
	Share float64 // of all payments
	Ends  string  // the expected result

	strike func(*script)
}

// Faults lists all faults in the order in which they are applied. The first ones change what
// happens to the payment, the last ones how the records arrive. A payment may have several
// faults.
var Faults = []Fault{
	{"captures exceed the authorized amount", 0.01, "dead letter: refused", overCaptured},
	{"a refund exceeds what was captured", 0.01, "dead letter: refused", overRefunded},
	{"a refund before its capture", 0.03, "parked, then applied", refundedEarly},
	{"a chargeback before its capture", 0.01, "parked, then applied", chargedBackEarly},
	{"a refund whose capture never comes", 0.005, "stays parked", neverCaptured},
	{"a void after a capture", 0.01, "dead letter: illegal", voidedLate},
	{"never authorized", 0.01, "all its records stay parked", neverAuthorized},
	{"a capture in another currency", 0.005, "dead letter: refused", inAnotherCurrency},
	{"a currency that the table refuses", 0.002, "dead letter: constraint", inNoCurrency},
	{"a negative amount", 0.002, "dead letter: refused", negative},
	{"an amount in euros, not in cents", 0.005, "dead letter: undecodable", inEuros},
	{"an unknown event", 0.01, "dead letter", unknownEvent},
	{"truncated JSON", 0.01, "dead letter: undecodable", cutOff},
	{"a tombstone", 0.005, "dead letter: undecodable", emptied},
	{"an ID used again for another amount", 0.01, "dead letter: message_taken", idTaken},
	{"neighbors swapped", 0.08, "parked, then applied", swapped},
	{"sent twice in a row", 0.05, "duplicate", sentTwice},
	{"redelivered later", 0.08, "duplicate", redelivered},
}

func overCaptured(s *script) {
	first := s.part()
	s.restart(step{Captured, first}, step{Captured, s.amount}, step{Captured, s.amount - first})
}

func overRefunded(s *script) {
	s.restart(step{Captured, s.amount}, step{Refunded, s.amount + 1}, step{Refunded, 1})
}

func refundedEarly(s *script) {
	first := s.part()
	s.restart(step{Captured, first}, step{Refunded, first + 1}, step{Captured, s.amount - first})
}

func chargedBackEarly(s *script) {
	first := s.part()
	s.restart(step{Captured, first}, step{ChargedBack, s.amount}, step{Captured, s.amount - first})
}

func neverCaptured(s *script) {
	first := s.part()
	s.restart(step{Captured, first}, step{Refunded, first + 1})
}

func voidedLate(s *script) { s.restart(step{Captured, s.part()}, step{Voided, 0}) }

func neverAuthorized(s *script) {
	s.restart(step{Captured, s.amount}, step{Refunded, 1})
	s.records = s.records[1:]
}

func inAnotherCurrency(s *script) {
	m := s.message(Captured, 1)
	m.Currency = other(s.currency)
	s.restart()
	s.add(m)
	s.say(Captured, s.amount)
}

func inNoCurrency(s *script) {
	s.currency = "XAU"
	s.restart(step{Captured, s.amount})
}

func negative(s *script) { s.restart(step{Captured, -s.amount}, step{Captured, s.amount}) }

func inEuros(s *script) { s.damaged(Fractional) }

func cutOff(s *script) { s.damaged(CutOff) }

func emptied(s *script) { s.damaged(Emptied) }

func unknownEvent(s *script) { s.insertAnywhere(s.message("payment.teleported", 1)) }

// idTaken inserts a capture with the ID and type of the last one, and another amount.
func idTaken(s *script) {
	s.restart(step{Captured, s.amount - 1})
	r := s.records[1]
	r.Message.Amount = 1
	s.records = append(s.records, r)
}

func swapped(s *script) {
	if last := len(s.records) - 1; last > 0 {
		i := s.rng.IntN(last)
		s.records[i], s.records[i+1] = s.records[i+1], s.records[i]
	}
}

func sentTwice(s *script) {
	i := s.rng.IntN(len(s.records))
	s.records = slices.Insert(s.records, i+1, s.records[i])
}

// redelivered sends a message again later, like a producer that got no answer: the record
// has a new offset and the same ID.
func redelivered(s *script) {
	i := s.rng.IntN(len(s.records))
	later := i + 1 + s.rng.IntN(len(s.records)-i)
	s.records = slices.Insert(s.records, later, s.records[i])
}

// damaged inserts a damaged capture.
func (s *script) damaged(how Damage) {
	r := s.record(s.message(Captured, 1))
	r.Damage = how
	s.insert(r)
}

func (s *script) insertAnywhere(m Message) { s.insert(s.record(m)) }

// insert inserts a record anywhere behind the first.
func (s *script) insert(r Record) {
	s.records = slices.Insert(s.records, 1+s.rng.IntN(len(s.records)), r)
}
