package demo

import (
	"fmt"
	"slices"

	"github.com/pawl-go/pawl/examples/orderflow/internal/expect"
	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// reconcile compares what was produced with what the database and the provider
// say: every record must have exactly the fate, every order and payment the row,
// and every card the charges, that the model expects.
func (r *Report) reconcile(ledger []traffic.Sent, f *found) {
	want := expect.Of(ledger, f.heard)
	r.Produced = len(ledger)
	for _, record := range ledger {
		r.count(record, f, want.Fates[record.Place])
		delete(f.fates, record.Place)
	}
	for at, fates := range f.fates {
		r.problem("record %d@%d is %v, but was never produced", at.Partition, at.Offset, fates)
	}
	for m, steps := range f.steps {
		if steps > 1 {
			r.AppliedTwice++
			r.problem("message %s moved order %s %d times", m.id, m.order, steps)
		}
	}
	r.compareOrders(want.Orders, f.orders)
	comparePayments(r, want.Payments, f.payments)
	r.compareCharges(want.Charges, f.provider)
}

// count counts a record by its fate and reports problems with it.
func (r *Report) count(record traffic.Sent, f *found, want expect.Fate) {
	at := record.Place
	if n := len(f.fates[at]); n > 1 {
		r.problem("record %d@%d has %d fates: %v", at.Partition, at.Offset, n, f.fates[at])
	}
	got := f.fateOf(record)
	switch got.Kind {
	case expect.Applied:
		r.Applied++
	case expect.Duplicate:
		r.Duplicate++
	case expect.Parked:
		r.Parked++
		r.ParkedFor[got.Reason]++
	case expect.DeadLettered:
		r.DeadLettered++
		r.DeadFor[got.Reason]++
	case expect.Lost:
		r.Lost++
	}
	if got != want {
		r.problem("record %d@%d (%s, message %s) is %v, want %v",
			at.Partition, at.Offset, record.Message.Event, record.ID, got, want)
	}
}

// fateOf returns the fate of a record. A record that is not in the database
// itself is a duplicate if its message has moved the order: the history proves
// it.
func (f *found) fateOf(r traffic.Sent) expect.Fate {
	if fates := f.fates[r.Place]; len(fates) > 0 {
		return fates[0]
	}
	if r.Damage == traffic.Intact && f.steps[message{r.Message.Order, r.MessageID()}] > 0 {
		return expect.Fate{Kind: expect.Duplicate}
	}
	return expect.Fate{Kind: expect.Lost}
}

func (r *Report) compareOrders(want, got map[string]expect.Order) {
	for id, o := range got {
		r.ByState[o.State]++
		if _, expected := want[id]; !expected {
			r.problem("order %s is %+v, but was never placed", id, o)
		}
	}
	for id, o := range want {
		if got[id] != o {
			r.problem("order %s is %+v, want %+v", id, got[id], o)
		}
	}
}

func comparePayments(r *Report, want, got map[string]expect.Payment) {
	for id, p := range want {
		if got[id] != p {
			r.problem("the payment of order %s is %+v, want %+v", id, got[id], p)
		}
	}
	for id := range got {
		if _, expected := want[id]; !expected {
			r.problem("order %s was never placed, but has a payment", id)
		}
	}
}

// compare reports the rows that the replay changed.
func (r *Report) compare(before, after snapshot) {
	moved := before.moved(after)
	slices.Sort(moved)
	r.MovedByReplay = len(moved)
	for _, row := range moved {
		r.problem("the replay changed %s", row)
	}
}

// maxProblems limits how many problems the report describes.
const maxProblems = 20

func (r *Report) problem(format string, args ...any) {
	r.Mismatches++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}
