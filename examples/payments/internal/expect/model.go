package expect

import (
	"cmp"
	"slices"

	"github.com/pawl-go/pawl/examples/payments/internal/traffic"
)

// Of returns the expected result for the records of a topic.
func Of(records []traffic.Sent) Result {
	m := &model{
		Result: Result{
			Fates:    make(map[traffic.Place]Fate, len(records)),
			Payments: make(map[string]Payment),
			Accounts: make(map[string]Account),
		},
		taken:   make(map[taken]traffic.Message),
		waiting: make(map[string][]waiter),
	}
	for rank, r := range inOrder(records) {
		if moved := m.try(waiter{r, rank}); moved != nil {
			m.wake(moved)
		}
	}
	for key, p := range m.Payments {
		m.Payments[key] = p.WithoutRate()
	}
	return m.Result
}

// inOrder returns the records as a consumer gets them. Only the order within a partition
// matters, and all records that share a payment or an account are in one partition.
func inOrder(records []traffic.Sent) []traffic.Sent {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b traffic.Sent) int {
		return cmp.Or(cmp.Compare(a.Place.Partition, b.Place.Partition), cmp.Compare(a.Place.Offset, b.Place.Offset))
	})
	return records
}

type model struct {
	Result
	taken   map[taken]traffic.Message // the messages that have moved something
	waiting map[string][]waiter       // by payment or account, in the order of rank
}

// taken is a message ID of a payment or account.
type taken struct{ key, id string }

// A waiter is a record with its place in the order of all records.
type waiter struct {
	traffic.Sent
	rank int
}

// try decides about a record, and returns the payments or accounts that it has moved.
func (m *model) try(w waiter) (moved []string) {
	worst, at := Fate{Kind: Duplicate}, ""
	var moves []func()
	for _, key := range keysOf(w) {
		fate, move := m.judge(w, key, severity(worst) <= severity(applied))
		if severity(fate) > severity(worst) {
			worst, at = fate, key
		}
		if fate == applied {
			moves = append(moves, move)
			moved = append(moved, key)
		}
	}
	m.Fates[w.Place] = worst
	if worst.Kind == Parked {
		m.waiting[at] = append(m.waiting[at], w)
		slices.SortFunc(m.waiting[at], func(a, b waiter) int { return cmp.Compare(a.rank, b.rank) })
	}
	if worst.Kind != Applied {
		return nil
	}
	for _, move := range moves {
		move()
	}
	return moved
}

// severity orders fates: if a record changes two accounts, the worse fate counts.
func severity(f Fate) int {
	if f.Reason == "message_taken" {
		return 4
	}
	return slices.Index([]Kind{Duplicate, Applied, Parked, DeadLettered}, f.Kind)
}

// keysOf returns the payment or accounts of a record. If it is damaged or unknown, that is
// one without a name.
func keysOf(w waiter) []string {
	m := w.Message
	if m.Type == traffic.Transfer && w.Damage == traffic.Intact && m.From != m.To {
		return []string{m.From, m.To}
	}
	return []string{m.Payment + m.Account}
}

// judge decides what a record does to one payment or account. If the record can't be
// applied anyway, only the state of the account counts.
func (m *model) judge(w waiter, key string, possible bool) (Fate, func()) {
	msg := w.Message
	if fate := undecodable(w); fate.Kind != Lost {
		return fate, nil
	}
	if other, ok := m.taken[taken{key, w.ID}]; ok {
		if other == msg {
			return Fate{Kind: Duplicate}, nil
		}
		return Fate{DeadLettered, "message_taken"}, nil
	}
	take := func() { m.taken[taken{key, w.ID}] = msg }
	if msg.Payment != "" {
		fate, next := m.Payments[key].after(msg)
		return fate, func() { take(); m.Payments[key] = next }
	}
	if !possible {
		return m.Accounts[key].legal(msg), nil
	}
	fate, next := m.Accounts[key].after(msg, msg.From == key)
	return fate, func() { take(); m.Accounts[key] = next }
}

// undecodable returns the fate of a record that asks for nothing possible, whatever the
// state of anything.
func undecodable(w waiter) Fate {
	switch {
	case w.Damage != traffic.Intact:
		return Fate{DeadLettered, "undecodable"}
	case w.Message.Type == "payment.teleported":
		return Fate{DeadLettered, "unknown_event"}
	case w.Message.Type == traffic.Transfer && w.Message.From == w.Message.To:
		return refused
	}
	return Fate{}
}

// wake retries the records that wait for what has moved, oldest first. Each time one of
// them moves something, it starts over.
func (m *model) wake(queue []string) {
	for len(queue) > 0 {
		moved := m.release(queue[0])
		if moved == nil {
			queue = queue[1:]
		}
		queue = append(queue, moved...)
	}
}

func (m *model) release(key string) (moved []string) {
	list := m.waiting[key]
	m.waiting[key] = nil
	for i, w := range list {
		if moved := m.try(w); moved != nil {
			m.waiting[key] = append(m.waiting[key], list[i+1:]...)
			return moved
		}
	}
	return nil
}
