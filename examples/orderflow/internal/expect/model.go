package expect

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// The events that an order hears from the provider and from its timer.
const (
	captured = "payment.captured"
	declined = "payment.declined"
	refunded = "payment.refunded"
	expired  = "order.expired"
)

// moves is the life of an order: for each state, the next state by event. The
// empty state is an order that was not placed yet.
var moves = map[string]map[string]string{
	"":           {traffic.Placed: "pending"},
	"pending":    {captured: "paid", declined: "unpaid", traffic.Cancelled: "cancelling"},
	"unpaid":     {traffic.Retried: "pending", traffic.Cancelled: "cancelled", expired: "expired"},
	"paid":       {traffic.Shipped: "shipped", traffic.Cancelled: "refunding"},
	"shipped":    {traffic.Delivered: "delivered"},
	"delivered":  {},
	"cancelling": {captured: "refunding", declined: "cancelled"},
	"refunding":  {refunded: "cancelled"},
	"cancelled":  {},
	"expired":    {},
}

// Waits reports whether an order in a state waits for the provider or for its
// timer, so that it can't stay there.
func Waits(state string) bool {
	for _, event := range []string{captured, declined, refunded, expired} {
		if legal(state, event) {
			return true
		}
	}
	return false
}

// payments is the life of a payment. Where an event is missing, the payment does
// not hear of it.
var payments = map[string]string{
	traffic.Placed: "charging", traffic.Retried: "charging",
	captured: "charged", declined: "declined", refunded: "refunded",
}

// Result is the expected result: the fates of the records, and the rows.
type Result struct {
	Fates    map[traffic.Place]Fate
	Orders   map[string]Order // only orders that were placed
	Payments map[string]Payment
	Charges  []Charge // in no order
}

// Of returns the expected result for the records of a topic. heard says, for each
// order, what it has heard from elsewhere, in the order of versions: the model
// can't know when the provider answers and when time is up, but must be able to
// explain everything else.
func Of(records []traffic.Sent, heard map[string][]Heard) Result {
	r := Result{
		Fates:  make(map[traffic.Place]Fate, len(records)),
		Orders: make(map[string]Order), Payments: make(map[string]Payment),
	}
	orders := make(map[string]*order)
	for _, record := range inOrder(records) {
		key := record.Message.Order
		if orders[key] == nil {
			orders[key] = &order{fates: r.Fates, seen: make(map[string]bool), heard: heard[key]}
		}
		orders[key].take(record)
	}
	for key, o := range orders {
		if o.row.Version > 0 {
			r.Orders[key], r.Payments[key] = o.row, o.payment
		}
		for _, c := range o.charges {
			c.Order = key
			r.Charges = append(r.Charges, c)
		}
	}
	return r
}

// inOrder returns the records as a consumer gets them. Only the order within a
// partition matters, and all records of an order are in one partition.
func inOrder(records []traffic.Sent) []traffic.Sent {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b traffic.Sent) int {
		return cmp.Or(cmp.Compare(a.Place.Partition, b.Place.Partition), cmp.Compare(a.Place.Offset, b.Place.Offset))
	})
	return records
}

// order is one order in the model.
type order struct {
	row     Order
	payment Payment
	charges []Charge
	seen    map[string]bool // the messages that have moved it
	heard   []Heard         // what it is yet to hear
	parked  []traffic.Sent  // oldest first
	fates   map[traffic.Place]Fate
}

// take processes one record. Each time the order moves, it hears what comes next
// from elsewhere, or else retries the parked records, oldest first.
func (o *order) take(r traffic.Sent) {
	for moved := o.try(r); moved; {
		if moved = o.hear(); moved {
			continue
		}
		waiting := o.parked
		o.parked = nil
		for i, w := range waiting {
			if moved = o.try(w); moved {
				o.parked = append(o.parked, waiting[i+1:]...)
				break
			}
		}
	}
}

// hear takes the next event from elsewhere, if that is what moved the order next.
func (o *order) hear() bool {
	if len(o.heard) == 0 || o.heard[0].Version != o.row.Version+1 || !legal(o.row.State, o.heard[0].Event) {
		return false // if it is not legal, the row will differ from the database's
	}
	event := o.heard[0].Event
	o.heard = o.heard[1:]
	switch last := len(o.charges) - 1; event {
	case captured:
		o.charges[last].Captured = true
	case refunded:
		o.charges[last].Refunded = true
	}
	o.move(event)
	return true
}

// try decides about one record and reports whether it moved the order.
func (o *order) try(r traffic.Sent) bool {
	fate := o.judge(r)
	o.fates[r.Place] = fate
	if fate.Kind == Parked {
		o.parked = append(o.parked, r)
	}
	if fate.Kind != Applied {
		return false
	}
	o.apply(r)
	return true
}

func (o *order) judge(r traffic.Sent) Fate {
	event := r.Message.Event
	switch {
	case r.Damage != traffic.Intact:
		return Fate{DeadLettered, "undecodable"}
	case !possible("", event) || event == traffic.Claimed:
		return Fate{DeadLettered, "unknown_event"}
	case o.seen[r.ID]:
		return Fate{Kind: Duplicate}
	case legal(o.row.State, event) && strings.HasPrefix(r.Message.Total.String(), "-"):
		return Fate{DeadLettered, "constraint"}
	case legal(o.row.State, event):
		return Fate{Kind: Applied}
	case possible(o.row.State, event) && o.row.Version == 0:
		return Fate{Parked, "no_entity"}
	case possible(o.row.State, event):
		return Fate{Parked, "not_yet"}
	}
	return Fate{DeadLettered, "illegal"}
}

func (o *order) apply(r traffic.Sent) {
	m := r.Message
	o.seen[r.ID] = true
	o.move(m.Event)
	switch m.Event {
	case traffic.Placed:
		o.row.Customer, o.row.Total = m.Customer, m.Total.String()
		o.payment.Amount = m.Total.String()
	case traffic.Shipped:
		o.row.Tracking = m.Tracking
	case traffic.Cancelled:
		o.row.Reason = m.Reason
	}
	if m.Event == traffic.Placed || m.Event == traffic.Retried {
		o.payment.Card = m.Card
		o.charges = append(o.charges, Charge{Amount: o.payment.Amount, Card: m.Card})
	}
}

func (o *order) move(event string) {
	o.row.State = moves[o.row.State][event]
	o.row.Version++
	if state, hears := payments[event]; hears {
		o.payment.State = state
		o.payment.Version++
	}
}

func legal(state, event string) bool { return moves[state][event] != "" }

// possible reports whether an event is legal in a state or in any state that can
// follow it.
func possible(state, event string) bool { return reaches(state, event, make(map[string]bool)) }

func reaches(state, event string, seen map[string]bool) bool {
	if seen[state] {
		return false
	}
	seen[state] = true
	if legal(state, event) {
		return true
	}
	for _, next := range moves[state] {
		if reaches(next, event, seen) {
			return true
		}
	}
	return false
}
