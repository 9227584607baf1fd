package expect

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pawl-go/pawl/examples/orderflow/internal/traffic"
)

// moves is the life of an order: for each state, the next state by event. The
// empty state is an order that was not placed yet.
var moves = map[string]map[string]string{
	"":          {traffic.Placed: "pending"},
	"pending":   {traffic.Captured: "paid", traffic.Cancelled: "cancelled"},
	"paid":      {traffic.Shipped: "shipped", traffic.Cancelled: "cancelled"},
	"shipped":   {traffic.Delivered: "delivered"},
	"delivered": {},
	"cancelled": {},
}

// Result is the expected result: the fates of the records and the orders.
type Result struct {
	Fates  map[traffic.Place]Fate
	Orders map[string]Order // only orders that were placed
}

// Of returns the expected result for the records of a topic.
func Of(records []traffic.Sent) Result {
	r := Result{Fates: make(map[traffic.Place]Fate, len(records)), Orders: make(map[string]Order)}
	orders := make(map[string]*order)
	for _, record := range inOrder(records) {
		key := record.Message.Order
		if orders[key] == nil {
			orders[key] = &order{fates: r.Fates, seen: make(map[string]bool)}
		}
		orders[key].take(record)
	}
	for key, o := range orders {
		if o.row.Version > 0 {
			r.Orders[key] = o.row
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
	row    Order
	seen   map[string]bool // the messages that have moved it
	parked []traffic.Sent  // oldest first
	fates  map[traffic.Place]Fate
}

// take processes one record and then the parked records: each time the order
// moves, it retries them, oldest first.
func (o *order) take(r traffic.Sent) {
	moved := o.try(r)
	for moved {
		waiting := o.parked
		o.parked, moved = nil, false
		for i, w := range waiting {
			if moved = o.try(w); moved {
				o.parked = append(o.parked, waiting[i+1:]...)
				break
			}
		}
	}
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
	o.move(r)
	return true
}

func (o *order) judge(r traffic.Sent) Fate {
	event := r.Message.Event
	switch {
	case r.Damage != traffic.Intact:
		return Fate{DeadLettered, "undecodable"}
	case !possible("", event):
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

func (o *order) move(r traffic.Sent) {
	m := r.Message
	o.seen[r.ID] = true
	o.row.State = moves[o.row.State][m.Event]
	o.row.Version++
	switch m.Event {
	case traffic.Placed:
		o.row.Customer, o.row.Total = m.Customer, m.Total.String()
	case traffic.Shipped:
		o.row.Tracking = m.Tracking
	case traffic.Cancelled:
		o.row.Reason = m.Reason
	}
}

func legal(state, event string) bool { return moves[state][event] != "" }

// possible reports whether an event is legal in a state or in any state that
// can follow it.
func possible(state, event string) bool {
	if legal(state, event) {
		return true
	}
	for _, next := range moves[state] {
		if possible(next, event) {
			return true
		}
	}
	return false
}
