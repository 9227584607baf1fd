package pawltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawl-go/pawl/versioning"
)

// A life is the letters of records that are all applied when they come in its order.
type life []int

// mostLived limits the records that are delivered in another order.
const mostLived = 6

// shuffles is how many other orders of a life are tried.
const shuffles = 4

// orders delivers the records of a play that were applied at once in other orders.
func (k *walker) orders(p *play, rng *rand.Rand) (fmt.Stringer, error) {
	var l life
	for _, a := range p.script {
		if a.kind != give {
			continue
		}
		if s := p.byID[a.id]; s.first.Verdict == versioning.Applied && len(l) < mostLived {
			l = append(l, a.letter)
		}
	}
	if len(l) < 2 {
		return nil, nil
	}
	for range shuffles {
		order := k.shuffle(l, rng)
		if slices.IsSorted(order) {
			continue
		}
		c, err := k.compare(l, order)
		if err != nil {
			return nil, err
		}
		if c.fault != nil {
			return k.shrinkOrders(l, order, c)
		}
	}
	return nil, nil
}

// shuffle returns a random order that keeps the order of each source.
func (k *walker) shuffle(l life, rng *rand.Rand) (order []int) {
	for len(order) < len(l) {
		free := k.free(l, order)
		order = append(order, free[rng.IntN(len(free))])
	}
	return order
}

// free returns the records that can be the next ones of an order.
func (k *walker) free(l life, order []int) (free []int) {
	for i := range l {
		blocked := slices.Contains(order, i)
		for j := 0; j < i && !blocked; j++ {
			blocked = !slices.Contains(order, j) && k.inOrder(l[j], l[i])
		}
		if !blocked {
			free = append(free, i)
		}
	}
	return free
}

// inOrder reports whether two records always come in the order in which they were sent: they share
// an entity and are from the same source.
func (k *walker) inOrder(a, b int) bool {
	one, other := &k.letters[a], &k.letters[b]
	return k.sourceOf(one.event) == k.sourceOf(other.event) &&
		slices.ContainsFunc(one.entities, func(e versioning.Entity) bool { return slices.Contains(other.entities, e) })
}

// A comparison is two worlds that got the same records in different orders.
type comparison struct {
	one, other *world
	messages   []*message // in the order of the life
	fault      *fault
}

// compare delivers records in their order and in another one. There is no fault if they are not
// all applied in their order.
func (k *walker) compare(l life, order []int) (c comparison, err error) {
	plain := k.cfg
	plain.Impure = true // this is about orders
	if c.one, err = newWorld(k.t.Context(), nil, &plain); err != nil {
		return c, err
	}
	for i, letter := range l {
		c.messages = append(c.messages, k.letters[letter].message(c.one, int64(i+1)))
		s, f, err := c.one.send(c.messages[i], noCrash)
		if f != nil || err != nil || s.first.Verdict != versioning.Applied {
			return c, err
		}
	}
	if c.other, err = newWorld(k.t.Context(), nil, &plain); err != nil {
		return c, err
	}
	sent := make([]*sent, len(l))
	for _, i := range order {
		s, f, err := c.other.send(c.messages[i], noCrash)
		if f != nil || err != nil {
			return c, err
		}
		sent[i] = s
	}
	c.fault, err = k.judge(c.one, c.other, sent)
	return c, err
}

// judge compares two worlds that got the same records.
func (k *walker) judge(one, other *world, sent []*sent) (*fault, error) {
	for _, s := range sent {
		if s.outcome.Verdict == versioning.Applied {
			continue
		}
		event := s.record.Changes[0].Event
		parked := s.first.Verdict == versioning.Early
		switch {
		case k.Sources != nil, s.outcome.Verdict == versioning.Early:
			how := "it is " + sayOutcome(&s.outcome)
			if parked && s.outcome.Verdict != versioning.Early {
				how = "it is parked and then " + sayOutcome(&s.outcome)
			}
			return &fault{"order loses " + string(event), fmt.Sprintf(
				"the order of delivery decides whether %q is applied: in one order it is, and in another %s", event, how)}, nil
		default:
			return nil, nil // the machine says that in this order it can't be applied
		}
	}
	a, err := one.rowsOnly()
	if err != nil {
		return nil, err
	}
	b, err := other.rowsOnly()
	if err != nil {
		return nil, err
	}
	diff := cmp.Diff(a, b, compareAll, cmpopts.EquateEmpty())
	if diff == "" {
		return nil, nil
	}
	return &fault{"order decides the row", "two orders of delivery lead to different rows, and every record is applied in both (-one, +other):\n" + indent(diff, "  ")}, nil
}

// rowsOnly returns the states and rows of all entities.
func (w *world) rowsOnly() (map[string]stand, error) {
	all, err := w.stands()
	for name, s := range all {
		all[name] = stand{State: s.State, Row: s.Row, Columns: s.Columns}
	}
	return all, err
}

// An orderShrinker has two orders with a fault, the simplest ones so far.
type orderShrinker struct {
	k     *walker
	life  life
	order []int
	comparison
}

// shrinkOrders returns the fewest records, and the order that is most like theirs, with the same
// fault.
func (k *walker) shrinkOrders(l life, order []int, c comparison) (fmt.Stringer, error) {
	s := orderShrinker{k, l, order, c}
	for changed := true; changed; {
		changed = s.drop()
		changed = s.simplify() || changed
		changed = s.untangle() || changed
	}
	s.shortest()
	return &finding{
		text: s.fault.text, test: s.test(), steps: len(s.life),
		story: "in one order:\n" + indent(s.one.everything(), "  ") + "\nin the other order:\n" + indent(s.other.everything(), "  ") + "\n",
	}, nil
}

// try takes two orders if they show the fault.
func (s *orderShrinker) try(l life, order []int) bool {
	if slices.IsSorted(order) {
		return false
	}
	c, err := s.k.compare(l, order)
	if err != nil || c.fault == nil || c.fault.kind != s.fault.kind {
		return false
	}
	s.life, s.order, s.comparison = l, order, c
	return true
}

// drop leaves out records.
func (s *orderShrinker) drop() (changed bool) {
	for at := range slices.Backward(s.life) {
		var rest []int
		for _, i := range s.order {
			switch {
			case i < at:
				rest = append(rest, i)
			case i > at:
				rest = append(rest, i-1)
			}
		}
		changed = s.try(slices.Delete(slices.Clone(s.life), at, at+1), rest) || changed
	}
	return changed
}

// simplify takes simpler records.
func (s *orderShrinker) simplify() (changed bool) {
	for i := range s.life {
		for _, letter := range s.k.simpler(s.life[i]) {
			simpler := slices.Clone(s.life)
			simpler[i] = letter
			if s.try(simpler, s.order) {
				changed = true
				break
			}
		}
	}
	return changed
}

// untangle brings the second order closer to the first one.
func (s *orderShrinker) untangle() (changed bool) {
	for i := 1; i < len(s.order); i++ {
		if s.order[i-1] > s.order[i] {
			closer := slices.Clone(s.order)
			closer[i-1], closer[i] = closer[i], closer[i-1]
			changed = s.try(s.life, closer) || changed
		}
	}
	return changed
}

// test returns a Go test that delivers the records in both orders.
func (s *orderShrinker) test() string {
	var b strings.Builder
	s.k.begin(&b)
	for _, w := range []struct {
		name  string
		order []int
	}{{"one", sorted(len(s.life))}, {"other", s.order}} {
		fmt.Fprintf(&b, "\t%s := pawltest.New(t, %s.Config)\n", w.name, s.k.Name)
		for _, i := range w.order {
			fmt.Fprintf(&b, "\t%s\n", s.k.call(w.name, s.messages[i]))
		}
	}
	b.WriteString("\tone.WantSame(other)\n}\n")
	return b.String()
}
