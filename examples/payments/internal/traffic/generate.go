package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A Plan says what traffic to generate.
type Plan struct {
	Payments int
	Accounts int
	Seed     uint64
}

// Traffic is the result of a Plan.
type Traffic struct {
	// Records are in the order in which to send them.
	Records []Record

	// Payments and Accounts are all keys, including those that are never authorized or
	// opened.
	Payments, Accounts []string

	// Struck is the number of payments with each fault, by index in Faults.
	Struck []int
}

// Generate generates the traffic of a plan.
func Generate(p Plan) Traffic {
	rng := rand.New(rand.NewPCG(p.Seed, 0))
	t := Traffic{Struck: make([]int, len(Faults))}
	var queues [][]Record
	for left := p.Accounts; left > 0; left -= accountsOfBook {
		n := len(queues)
		b := &book{script: &script{key: fmt.Sprintf("book-%03d", n), rng: rng, currency: Currencies[n%len(Currencies)]}}
		b.open(min(left, accountsOfBook))
		b.deliver()
		t.Accounts = append(t.Accounts, b.accounts...)
		queues = append(queues, b.records)
	}
	for n := range p.Payments {
		s := newPayment(fmt.Sprintf("pay-%06d", n), rng)
		s.live()
		for i, f := range Faults {
			// The first payments get one fault each, so that even the smallest run shows
			// all faults.
			if n == i || n >= len(Faults) && rng.Float64() < f.Share {
				f.strike(s)
				t.Struck[i]++
			}
		}
		t.Payments = append(t.Payments, s.key)
		queues = append(queues, s.records)
	}
	t.Records = interleave(rng, queues)
	return t
}

// openAtOnce is how many scripts are being sent at the same time.
const openAtOnce = 100

// interleave mixes the records of many scripts and keeps each script's records in order.
func interleave(rng *rand.Rand, queues [][]Record) (mixed []Record) {
	open := queues[:min(openAtOnce, len(queues))]
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
