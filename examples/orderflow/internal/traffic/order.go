package traffic

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// The events of an order.
const (
	Placed    = "order.placed"
	Captured  = "payment.captured"
	Shipped   = "order.shipped"
	Delivered = "order.delivered"
	Cancelled = "order.cancelled"
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
// delivered, some are cancelled.
func (o *order) live() {
	switch p := o.rng.Float64(); {
	case p < 0.08:
		o.setEvents(Placed, Cancelled)
	case p < 0.15:
		o.setEvents(Placed, Captured, Cancelled)
	case p < 0.35:
		all := []string{Placed, Captured, Shipped}
		o.setEvents(all[:1+o.rng.IntN(len(all))]...)
	default:
		o.setEvents(Placed, Captured, Shipped, Delivered)
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
