package traffic

import (
	"math/rand/v2"
	"slices"
)

// A Plan says what traffic to generate.
type Plan struct {
	Orders int
	Seed   uint64
	Prefix string // of the orders' keys
}

// Traffic is the result of a Plan.
type Traffic struct {
	// Records are in the order in which to send them.
	Records []Record

	// Orders are the keys of all orders, including those that are never placed.
	Orders []string

	// Struck is the number of orders with each fault, by index in Faults.
	Struck []int
}

// Generate generates the traffic of a plan.
func Generate(p Plan) Traffic {
	rng := generator(p.Seed)
	t := Traffic{Struck: make([]int, len(Faults))}
	queues := make([][]Record, p.Orders)
	for n := range p.Orders {
		o := newOrder(p.Prefix, n, rng)
		o.live()
		for i, f := range Faults {
			// The first orders get one fault each, so that even the smallest
			// run shows all faults.
			if n == i || n >= len(Faults) && rng.Float64() < f.Share {
				f.strike(o)
				t.Struck[i]++
			}
		}
		t.Orders = append(t.Orders, o.id)
		queues[n] = o.records
	}
	t.Records = interleave(rng, queues)
	return t
}

func generator(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0))
}

// openOrders is how many orders are open at the same time.
const openOrders = 100

// interleave mixes the records of many orders and keeps each order's records in
// order.
func interleave(rng *rand.Rand, queues [][]Record) (mixed []Record) {
	open := queues[:min(openOrders, len(queues))]
	waiting := queues[len(open):]
	for len(open) > 0 {
		i := rng.IntN(len(open))
		mixed = append(mixed, open[i][0])
		open[i] = open[i][1:]
		switch {
		case len(open[i]) > 0:
		case len(waiting) > 0:
			open[i], waiting = waiting[0], waiting[1:]
		default:
			open = slices.Delete(open, i, i+1)
		}
	}
	return mixed
}
