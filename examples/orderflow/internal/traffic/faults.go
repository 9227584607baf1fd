package traffic

import "slices"

// A Fault is something that goes wrong with the records of an order.
type Fault struct {
	Name  string
	Share float64 // of the orders
	Ends  string  // what has to become of it

	strike func(*order)
}

// Faults are all faults, in the order in which they strike. The first ones
// change what happens to the order, the last ones how the records arrive; an
// order may be struck by several.
var Faults = []Fault{
	{"paid after it was cancelled", 0.02, "dead letter: money, never a duplicate", paidAfterCancelled},
	{"delivered after it was cancelled", 0.01, "dead letter", deliveredAfterCancelled},
	{"shipped twice, by two messages", 0.01, "the second is a dead letter", shippedTwice},
	{"never placed", 0.01, "all its records stay parked", neverPlaced},
	{"the payment never comes", 0.005, "what depends on it stays parked", neverPaid},
	{"a total below zero", 0.001, "dead letter: the table refuses it", negativeTotal},
	{"an event that nobody knows", 0.01, "dead letter", unknownEvent},
	{"JSON cut off", 0.01, "dead letter", cutOff},
	{"a tombstone", 0.005, "dead letter", emptied},
	{"neighbours swapped", 0.08, "parked, then applied", swapped},
	{"sent twice at once", 0.05, "duplicate", sentTwice},
	{"redelivered later", 0.08, "duplicate", redelivered},
}

func paidAfterCancelled(o *order) { o.tell(Placed, Cancelled, Captured) }

func deliveredAfterCancelled(o *order) { o.tell(Placed, Captured, Cancelled, Delivered) }

func shippedTwice(o *order) { o.tell(Placed, Captured, Shipped, Shipped, Delivered) }

func neverPlaced(o *order) { o.tell(Captured, Shipped) }

func neverPaid(o *order) { o.tell(Placed, Shipped, Delivered) }

// negativeTotal passes decoding: it is the table's CHECK that refuses it.
func negativeTotal(o *order) {
	for i := range o.records {
		if m := &o.records[i].Message; m.Event == Placed {
			m.Total = "-" + m.Total
		}
	}
}

func unknownEvent(o *order) { o.insertAnywhere(o.record("order.teleported")) }

func cutOff(o *order) {
	r := o.record(Captured)
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

// redelivered sends a message again some time later, as a producer does that
// got no answer: it is at a new offset then, with the same ID.
func redelivered(o *order) {
	i := o.rng.IntN(len(o.records))
	later := i + 1 + o.rng.IntN(len(o.records)-i)
	o.records = slices.Insert(o.records, later, o.records[i])
}

func (o *order) insertAnywhere(r Record) {
	o.records = slices.Insert(o.records, o.rng.IntN(len(o.records)+1), r)
}
