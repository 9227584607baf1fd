package pawltest

import (
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// mostTried limits the scripts that are tried to find the shortest one, and searchTime the time that
// this takes.
const (
	mostTried  = 5000
	searchTime = 500 * time.Millisecond
)

// A budget is what is left of these limits.
type budget struct {
	tried int
	since time.Time
}

func newBudget() *budget { return &budget{since: time.Now()} }

// spend counts one try. It reports whether there may be no more.
func (b *budget) spend() (over bool) {
	b.tried++
	return b.isSpent()
}

func (b *budget) isSpent() bool { return b.tried > mostTried || time.Since(b.since) > searchTime }

// A search tries all scripts, the shortest ones first, until one shows the fault that a shrunk
// script shows. Shrinking alone finds a script from which nothing can be left out; a shorter one
// may need other records.
type search struct {
	*shrinker

	actions []action // to choose from, besides the letters: one of each kind that the script has
	crashes []crash
	budget  *budget
}

// shortest replaces the script by the first one of all those that are not longer.
func (s *shrinker) shortest() error {
	all := search{shrinker: s, crashes: []crash{noCrash}, budget: newBudget()}
	for _, a := range s.script {
		if !slices.Contains(all.crashes, a.crash) {
			all.crashes = append(all.crashes, a.crash)
		}
		isKnown := slices.ContainsFunc(all.actions, func(b action) bool { return b.kind == a.kind })
		if a.kind != give && !isKnown {
			all.actions = append(all.actions, action{kind: a.kind})
		}
	}
	for n := 1; n <= len(s.script); n++ {
		if found, err := all.extend(nil, n); found || err != nil || all.budget.isSpent() {
			return err
		}
	}
	return nil
}

// extend tries all scripts that begin with some actions and have n more.
func (s *search) extend(begin []action, n int) (found bool, err error) {
	for _, a := range s.nextActions(begin) {
		script := append(slices.Clone(begin), a)
		if s.budget.spend() {
			return false, nil
		}
		p, f, err := s.k.replay(script, s.kind)
		if err != nil {
			return false, err
		}
		if f != nil {
			s.script, s.play, s.fault = p.script, p, f
			return true, nil
		}
		if n == 1 || !p.matters() {
			continue
		}
		if found, err := s.extend(script, n-1); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// nextActions returns the actions with which a script may go on.
func (s *search) nextActions(begin []action) (all []action) {
	given := 0
	for _, a := range begin {
		if a.kind == give {
			given++
		}
	}
	for letter := range s.k.letters {
		for _, crash := range s.crashes {
			all = append(all, action{kind: give, id: given + 1, letter: letter, crash: crash})
		}
	}
	for _, a := range s.actions {
		if a.kind == nextTimer {
			all = append(all, a)
			continue
		}
		for id := 1; id <= given; id++ {
			all = append(all, action{kind: a.kind, of: id})
		}
	}
	return all
}

// matters reports whether the last action of a play has done anything that later ones could notice.
func (p *play) matters() bool {
	if len(p.script) == 0 {
		return false
	}
	last := p.script[len(p.script)-1]
	s := p.byID[last.id]
	if last.kind != give {
		s = p.made[len(p.script)-1]
	}
	if s == nil || last.kind == redeliver {
		return last.kind == nextTimer
	}
	return s.first.Verdict == versioning.Applied || s.first.Verdict == versioning.Early
}

// shortest replaces the orders by the first ones of all those that are not longer.
func (s *orderShrinker) shortest() {
	limit := newBudget()
	most := len(s.life)
	var extend func(begin life, n int) bool
	extend = func(begin life, n int) bool {
		for letter := range s.k.letters {
			l := append(slices.Clone(begin), letter)
			if limit.spend() {
				return true
			}
			c, err := s.k.compare(l, sorted(len(l)))
			if err != nil || c.other == nil { // they are not all applied
				continue
			}
			if n > 1 {
				if extend(l, n-1) {
					return true
				}
				continue
			}
			for _, order := range s.k.allOrders(l, nil) {
				if s.try(l, order) || limit.spend() {
					return true
				}
			}
		}
		return false
	}
	for n := 2; n <= most; n++ {
		if extend(nil, n) {
			return
		}
	}
}

// sorted returns the numbers below n.
func sorted(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// allOrders returns all orders of a life that begin with some records and keep the order of each
// source.
func (k *walker) allOrders(l life, begin []int) (all [][]int) {
	if len(begin) == len(l) {
		return [][]int{begin}
	}
	for _, i := range k.free(l, begin) {
		all = append(all, k.allOrders(l, append(slices.Clone(begin), i))...)
	}
	return all
}
