package traffic

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// The events of an order that arrive as messages.
const (
	Placed    = "order.placed"
	Retried   = "payment.retried"
	Shipped   = "order.shipped"
	Delivered = "order.delivered"
	Cancelled = "order.cancelled"
)

// Claimed is an event that only the provider's answer may cause.
const Claimed = "payment.captured"

// The cards of the customers. The provider declines Declined.
const (
	goodCard     = "4000056655665556"
	DeclinedCard = "4000000000000002"
)

// An order is one order with its records, in the order in which they are sent.
type order struct {
	id      string
	rng     *rand.Rand
	now     time.Time
	ids     int // number of message IDs used
	records []Record
}

var firstOrder = time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)

func newOrder(prefix string, n int, rng *rand.Rand) *order {
	return &order{
		id:  fmt.Sprintf("%s-%06d", prefix, n),
		rng: rng,
		now: firstOrder.Add(time.Duration(n) * time.Second),
	}
}

// live sets what happens to the order without faults: most orders are open or
// delivered, some are cancelled, and some are never paid.
func (o *order) live() {
	switch p := o.rng.Float64(); {
	case p < 0.10:
		o.setEvents(Placed, Cancelled)
	case p < 0.13:
		o.setEvents(Placed, Cancelled)
		o.declined()
	case p < 0.20:
		o.setEvents(Placed)
		o.declined()
	case p < 0.26:
		o.setEvents(Placed, Retried, Shipped, Delivered)
		o.declined()
	case p < 0.42:
		all := []string{Placed, Shipped}
		o.setEvents(all[:1+o.rng.IntN(len(all))]...)
	default:
		o.setEvents(Placed, Shipped, Delivered)
	}
}

// declined makes the customer pay with a card that the provider declines.
func (o *order) declined() {
	for i := range o.records {
		if m := &o.records[i].Message; m.Event == Placed {
			m.Card = DeclinedCard
		}
	}
}

// setEvents replaces the order's records with one for each of these events.
func (o *order) setEvents(events ...string) {
	o.records = nil
	for _, event := range events {
		o.records = append(o.records, o.record(event))
	}
}

// record returns a new message about the order.
func (o *order) record(event string) Record {
	o.ids++
	o.now = o.now.Add(time.Duration(1+o.rng.IntN(240)) * time.Minute)
	m := Message{Order: o.id, Event: event, At: o.now}
	switch event {
	case Placed:
		m.Customer = customers[o.rng.IntN(len(customers))]
		m.Total = json.Number(fmt.Sprintf("%d.%02d", 5+o.rng.IntN(500), o.rng.IntN(100)))
		m.Card = goodCard
	case Retried:
		m.Card = goodCard
	case Shipped:
		m.Tracking = fmt.Sprintf("PW%010d", o.rng.Uint32())
	case Cancelled:
		m.Reason = reasons[o.rng.IntN(len(reasons))]
	}
	return Record{ID: fmt.Sprintf("%s/%d", o.id, o.ids), Message: m}
}

var (
	customers = []string{"Ada", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Ken", "Leslie", "Radia", "Tony"}
	reasons   = []string{"changed my mind", "ordered twice", "too slow", "out of stock"}
)
