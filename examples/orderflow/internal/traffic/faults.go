package traffic

import "slices"

// A Fault is something that goes wrong with the records of an order.
type Fault struct {
	Name  string
	Share float64 // of all orders
	Ends  string  // the expected result

	strike func(*order)
}

// Faults lists all faults in the order in which they are applied. The first
// ones change what happens to the order, the last ones how the records arrive.
// An order may have several faults.
var Faults = []Fault{
	{"a payment that is only claimed", 0.02, "dead letter: only the provider's answer counts", claimed},
	{"delivery after cancellation", 0.01, "dead letter", deliveredAfterCancelled},
	{"shipped twice, by two messages", 0.01, "the second is a dead letter", shippedTwice},
	{"never placed", 0.01, "all its records stay parked", neverPlaced},
	{"shipped although never paid", 0.005, "dead letter when the order expires", neverPaid},
	{"a negative total", 0.001, "dead letter: the table rejects it", negativeTotal},
	{"an unknown event", 0.01, "dead letter", unknownEvent},
	{"truncated JSON", 0.01, "dead letter", cutOff},
	{"a tombstone", 0.005, "dead letter", emptied},
	{"neighbors swapped", 0.08, "parked, then applied", swapped},
	{"sent twice in a row", 0.05, "duplicate", sentTwice},
	{"redelivered later", 0.08, "duplicate", redelivered},
}

// claimed sends the event of a payment as a message, which anybody could do.
func claimed(o *order) { o.setEvents(Placed, Claimed, Shipped); o.declined() }

func deliveredAfterCancelled(o *order) { o.setEvents(Placed, Cancelled, Delivered) }

func shippedTwice(o *order) { o.setEvents(Placed, Shipped, Shipped, Delivered) }

func neverPlaced(o *order) { o.setEvents(Shipped, Delivered) }

func neverPaid(o *order) { o.setEvents(Placed, Shipped, Delivered); o.declined() }

// negativeTotal makes a total that decodes, but violates the table's CHECK.
func negativeTotal(o *order) {
	for i := range o.records {
		if m := &o.records[i].Message; m.Event == Placed {
			m.Total = "-" + m.Total
		}
	}
}

func unknownEvent(o *order) { o.insertAnywhere(o.record("order.teleported")) }

func cutOff(o *order) {
	r := o.record(Shipped)
	r.Damage = CutOff
	o.insertAnywhere(r)
}

func emptied(o *order) {
	r := o.record(Cancelled)
	r.Damage = Emptied
	o.insertAnywhere(r)
}

func swapped(o *order) {
	if last := len(o.records) - 1; last > 0 {
		i := o.rng.IntN(last)
		o.records[i], o.records[i+1] = o.records[i+1], o.records[i]
	}
}

func sentTwice(o *order) {
	i := o.rng.IntN(len(o.records))
	o.records = slices.Insert(o.records, i+1, o.records[i])
}

// redelivered sends a message again later, like a producer that got no answer:
// the record has a new offset and the same ID.
func redelivered(o *order) {
	i := o.rng.IntN(len(o.records))
	later := i + 1 + o.rng.IntN(len(o.records)-i)
	o.records = slices.Insert(o.records, later, o.records[i])
}

func (o *order) insertAnywhere(r Record) {
	o.records = slices.Insert(o.records, o.rng.IntN(len(o.records)+1), r)
}
