package main

import (
	"fmt"
	"hash/fnv"
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
		{Event: issued, To: open, Do: statemachine.Do(announceTicket)},
		{Event: touched, From: statemachine.In(open), To: held, Do: statemachine.Do(announceTicket)},
		{Event: released, From: statemachine.In(held), To: open, Do: statemachine.Do(announceTicket)},
		{Event: expired, From: statemachine.In(open), To: ended, Do: statemachine.Do(announceTicket), After: ticketLife},
	},
	Terminal: statemachine.In(ended),
})

// announced is the topic of the messages that the steps of wallets, tickets and bills send.
const announced = "announced"

// An announcement is the value of such a message.
type announcement struct {
	Machine string             `json:"machine"`
	Entity  string             `json:"entity"`
	Version int64              `json:"version"`
	Event   statemachine.Event `json:"event"`
	From    statemachine.State `json:"from"`
	To      statemachine.State `json:"to"`
	Trail   int64              `json:"trail"`
}

// A trail is the part of a row that is a hash of the entity's steps. After a failover or a
// restore, an entity may take another way, and one of its steps may look like one that was lost.
// The trail tells the two apart.
type trail struct {
	Trail int64 `db:"trail"`
}

// follow returns the trail after a step.
func follow(before int64, step announcement) int64 {
	h := fnv.New64a()
	step.Trail = before
	_, _ = fmt.Fprint(h, step) // never fails
	return int64(h.Sum64())
}

func announce(f *statemachine.Firing, row *trail) error {
	step := announcement{Machine: f.Machine, Entity: f.Key, Version: f.Version, Event: f.Event, From: f.From, To: f.To}
	row.Trail = follow(row.Trail, step)
	step.Trail = row.Trail
	f.Emit(announced, step)
	return nil
}

// A stub is the row of a ticket.
type stub struct{ trail }

func announceTicket(f *statemachine.Firing, row *stub, _ struct{}) error {
	return announce(f, &row.trail)
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
