package main

import (
	"fmt"
	"time"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// Tickets are entities with a timer: one that stays open for ticketLife expires. Some are held
// for a while, which ends the wait, and begin a new one when they are released. So when a
// ticket expires depends on the time, and what becomes of a message about it too.

const (
	open  statemachine.State = "open"
	held  statemachine.State = "held"
	ended statemachine.State = "ended"

	issued   statemachine.Event = "issued"
	touched  statemachine.Event = "touched"
	released statemachine.Event = "released"
	expired  statemachine.Event = "expired"
)

// ticketLife is how long a ticket may stay open.
const ticketLife = 2 * time.Second

var tickets = statemachine.MustCompile(statemachine.Definition{
	Name: "ticket", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: issued, To: open, Do: statemachine.Do(announce)},
		{Event: touched, From: statemachine.In(open), To: held, Do: statemachine.Do(announce)},
		{Event: released, From: statemachine.In(held), To: open, Do: statemachine.Do(announce)},
		{Event: expired, From: statemachine.In(open), To: ended, Do: statemachine.Do(announce), After: ticketLife},
	},
	Terminal: statemachine.In(ended),
})

// announced is the topic of the messages that the steps of wallets and tickets send.
const announced = "announced"

// An announcement is the value of such a message.
type announcement struct {
	Machine string             `json:"machine"`
	Entity  string             `json:"entity"`
	Version int64              `json:"version"`
	Event   statemachine.Event `json:"event"`
	From    statemachine.State `json:"from"`
	To      statemachine.State `json:"to"`
}

func announcementOf(f *statemachine.Firing) announcement {
	return announcement{f.Machine, f.Key, f.Version, f.Event, f.From, f.To}
}

func announce(f *statemachine.Firing, _ *struct{}, _ struct{}) error {
	f.Emit(announced, announcementOf(f))
	return nil
}

// A ticket is what the producer knows about a ticket that it still sends messages about.
type ticket struct {
	key       string
	partition int
	held      bool
	left      int // messages until it is left alone
	sent      []sending
}

const openTickets = 50

// ticket returns the next message about some ticket.
func (t *traffic) ticket() sending {
	if len(t.tickets) < openTickets {
		t.issued++
		k := &ticket{key: fmt.Sprintf("ticket-%d", t.issued), partition: t.random.IntN(t.partitions), left: 2 * t.random.IntN(4)}
		s := t.sending(k.partition, message{Event: issued, Account: k.key}, applied)
		k.sent = append(k.sent, s)
		if k.left > 0 {
			t.tickets = append(t.tickets, k)
		}
		return s
	}
	i := t.random.IntN(len(t.tickets))
	k := t.tickets[i]
	if t.chance(0.05) {
		return k.sent[t.random.IntN(len(k.sent))] // again
	}
	s := t.touch(k)
	if k.left == 0 {
		t.tickets[i] = t.tickets[len(t.tickets)-1]
		t.tickets = t.tickets[:len(t.tickets)-1]
	}
	return s
}

// touch returns the message that holds or releases a ticket. It may have expired by then.
func (t *traffic) touch(k *ticket) sending {
	event := touched
	if k.held {
		event = released
	}
	k.held = !k.held
	k.left--
	s := t.sending(k.partition, message{Event: event, Account: k.key}, timed)
	k.sent = append(k.sent, s)
	return s
}

// releaseTickets returns the messages that release what is held.
func (t *traffic) releaseTickets() (all []sending) {
	for _, k := range t.tickets {
		if k.held {
			all = append(all, t.touch(k))
		}
	}
	return all
}

func ticketChanges(m message) []versioning.Change {
	return []versioning.Change{{Machine: tickets.Name(), Key: m.Account, Event: m.Event}}
}

func isTicket(e statemachine.Event) bool { return e == issued || e == touched || e == released }
