package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/pawl-go/pawl/statemachine"
)

// A fate is the expected fate of a record.
type fate uint8

const (
	applied fate = iota
	parked       // forever: what it waits for never comes
	dead         // a dead letter
	decided      // one of these: it depends on the order
	timed        // applied, or a dead letter because its ticket has expired
)

func (f fate) String() string {
	return [...]string{"applied", "parked", "dead letter", "decided", "timed"}[f]
}

// A sending is a message for a partition, and its expected fate. Of several
// with the same ID, one is applied and the others do nothing.
type sending struct {
	partition int
	id        string
	body      message
	garbage   bool // sent instead of the body
	fate      fate
}

// traffic generates messages without end. The fate of each message does not
// depend on the order in which the partitions are read:
//
//   - A customer's account is on one partition. Its messages may be swapped and
//     sent twice, but invalid messages and the closing event are sent only when
//     no earlier message is held back.
//   - Transfers are between accounts of banks, which are open from the start and
//     stay open.
//
// Only the fate of transfers between wallets depends on the order, see [audit], and that of
// messages about tickets on the time.
type traffic struct {
	random     *rand.Rand
	partitions int
	lanes      []lane
	customers  []*customer
	born       int
	serial     int
	wallets    int       // that are founded
	payments   []sending // transfers between wallets
	issued     int       // tickets
	tickets    []*ticket // to send more messages about
	billed     int       // bills
	bills      []*debtor // to send more demands about
	ledger     *ledger
}

// A lane holds messages back on their way to a partition.
type lane struct {
	held []heldBack
}

type heldBack struct {
	sending  sending
	after    int // after this many other messages
	customer *customer
}

// A customer is an account with a life.
type customer struct {
	key       string
	partition int
	versioned bool // its messages carry expected versions
	steps     int  // left until it is closed
	state     statemachine.State
	taken     []statemachine.Event // events by version
	held      int                  // number of messages held back
	sent      []sending
}

const (
	// Of four times so many messages, the last quarter are only new events of accounts in their
	// order. For these a store reads nothing if it has written the rows itself.
	calmFor = 1000

	openCustomers = 300
	banksEach     = 8 // bank accounts per partition
)

func newTraffic(seed uint64, partitions int, l *ledger) *traffic {
	return &traffic{
		random:     rand.New(rand.NewPCG(seed, 1)),
		partitions: partitions, lanes: make([]lane, partitions), ledger: l,
	}
}

// open returns the messages that must be sent first.
func (t *traffic) open() (all []sending) {
	for p := range t.partitions {
		for i := range banksEach {
			key := bank(p, i)
			t.ledger.step(key, active)
			all = append(all, t.sending(p, message{Event: opened, Account: key}, applied))
		}
	}
	for range t.partitions * walletsEach / 2 {
		s, _ := t.found()
		all = append(all, s)
	}
	return all
}

func bank(partition, i int) string { return fmt.Sprintf("bank-%d-%d", partition, i) }

func (t *traffic) sending(partition int, m message, f fate) sending {
	t.serial++
	m.Amount = int64(t.serial)
	return sending{partition: partition, id: "m" + strconv.Itoa(t.serial), body: m, fate: f}
}

func (t *traffic) chance(share float64) bool { return t.random.Float64() < share }

// next returns the messages to send now: one message, and those held back until
// after it.
func (t *traffic) next() []sending {
	c := t.customer()
	if t.serial/calmFor%4 == 3 {
		for c.versioned {
			c = t.customer()
		}
		return t.release(t.step(c))
	}
	switch {
	case t.chance(0.002):
		return t.release(t.orphan())
	case t.chance(0.1):
		return t.release(t.transfer())
	case t.chance(0.11):
		return t.release(t.payment())
	case t.chance(0.09):
		return t.release(t.ticket())
	case t.chance(0.015):
		return t.release(t.bill())
	case t.chance(0.01):
		if s, ok := t.found(); ok {
			return t.release(s)
		}
	}
	if s, ok := t.wrong(c); ok {
		return t.release(s)
	}
	if len(c.sent) > 0 && t.chance(0.05) {
		return t.release(c.sent[t.random.IntN(len(c.sent))]) // again
	}
	s := t.step(c)
	if s.body.Event != shut && t.chance(0.05) {
		t.hold(c, s)
		return nil
	}
	return t.release(s)
}

// rest returns everything that is still held back, and what it needs: a frozen
// account takes no events.
func (t *traffic) rest() (all []sending) {
	for i := range t.lanes {
		for _, h := range t.lanes[i].held {
			all = append(all, h.sending)
		}
		t.lanes[i].held = nil
	}
	for _, c := range t.customers {
		if c.state == frozen {
			all = append(all, t.step(c))
		}
	}
	for s, ok := t.found(); ok; s, ok = t.found() {
		all = append(all, s)
	}
	return append(all, t.releaseTickets()...)
}

func (t *traffic) hold(c *customer, s sending) {
	c.held++
	l := &t.lanes[s.partition]
	l.held = append(l.held, heldBack{s, 1 + t.random.IntN(100), c})
}

// release returns a message and those that were held back until after it.
func (t *traffic) release(s sending) []sending {
	all := []sending{s}
	l := &t.lanes[s.partition]
	still := l.held[:0]
	for _, h := range l.held {
		if h.after--; h.after > 0 {
			still = append(still, h)
			continue
		}
		h.customer.held--
		all = append(all, h.sending)
	}
	l.held = still
	return all
}

// orphan returns a message that waits for an account that is never opened:
// alone, or as a transfer whose other part could be applied.
func (t *traffic) orphan() sending {
	p := t.random.IntN(t.partitions)
	s := t.sending(p, message{Event: deposited, Account: fmt.Sprintf("nobody-%d", t.serial)}, parked)
	if t.chance(0.5) {
		s.body.To = s.body.Account
		s.body.Account = bank(p, t.random.IntN(banksEach))
		s.body.Transfer = "t" + s.id
	}
	return s
}

func (t *traffic) transfer() sending {
	p := t.random.IntN(t.partitions)
	from, to := bank(p, t.random.IntN(banksEach)), bank(t.random.IntN(t.partitions), t.random.IntN(banksEach))
	for to == from {
		to = bank(t.random.IntN(t.partitions), t.random.IntN(banksEach))
	}
	s := t.sending(p, message{Event: made, Account: from, To: to}, applied)
	s.body.Transfer = "t" + s.id
	t.ledger.step(from, active)
	t.ledger.step(to, active)
	t.ledger.transfers++
	return s
}
