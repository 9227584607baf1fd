package main

import (
	"fmt"
	"strconv"

	"github.com/pawl-go/pawl/statemachine"
)

// customer returns a customer that has an account, or waits for one.
func (t *traffic) customer() *customer {
	if len(t.customers) < openCustomers {
		t.born++
		c := &customer{
			key: fmt.Sprintf("customer-%d", t.born), partition: t.random.IntN(t.partitions),
			versioned: t.chance(0.3), steps: 2 + t.random.IntN(12),
		}
		t.customers = append(t.customers, c)
	}
	return t.customers[t.random.IntN(len(t.customers))]
}

// wrong sometimes returns a message that cannot be applied to the account's
// current state. All earlier messages have been sent.
func (t *traffic) wrong(c *customer) (s sending, ok bool) {
	if !t.chance(0.01) || c.held > 0 || len(c.taken) == 0 {
		return sending{}, false
	}
	s = t.sending(c.partition, message{Event: opened, Account: c.key}, dead)
	switch {
	case t.chance(0.3):
		s.garbage = true
	case c.state == active && t.chance(0.5): // legal, but the table rejects it
		s.body.Event, s.body.Amount = deposited, -s.body.Amount
		if c.versioned {
			s.body.Expected = strconv.Itoa(len(c.taken))
		}
	case c.versioned: // another event took the version it expects
		at := t.random.IntN(len(c.taken))
		s.body.Expected = strconv.Itoa(at)
		if s.body.Event = deposited; c.taken[at] == deposited {
			s.body.Event = withdrawn
		}
	}
	return s, true
}

// step returns the next message of an account's life.
func (t *traffic) step(c *customer) sending {
	m := message{Account: c.key}
	if c.versioned {
		m.Expected = strconv.Itoa(len(c.taken))
	}
	m.Event, c.state = t.event(c)
	c.taken = append(c.taken, m.Event)
	c.steps--
	t.ledger.step(c.key, c.state)
	s := t.sending(c.partition, m, applied)
	c.sent = append(c.sent, s)
	return s
}

func (t *traffic) event(c *customer) (statemachine.Event, statemachine.State) {
	switch {
	case c.state == statemachine.None:
		return opened, active
	case c.state == frozen:
		return thawed, active
	case c.steps <= 0 && c.held == 0:
		t.leave(c)
		return shut, closed
	case t.chance(0.1):
		return froze, frozen
	case t.chance(0.5):
		return withdrawn, active
	}
	return deposited, active
}

func (t *traffic) leave(c *customer) {
	last := len(t.customers) - 1
	for i := range t.customers {
		if t.customers[i] == c {
			t.customers[i] = t.customers[last]
			t.customers = t.customers[:last]
			return
		}
	}
}
