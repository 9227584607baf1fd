package pawltest

import (
	"fmt"
	"slices"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A goal is a branch to take.
type goal struct {
	machine string
	from    statemachine.State
	event   statemachine.Event
	branch  int
}

// goals are the branches of all machines.
type goals struct {
	cfg   *Config
	all   []goal
	taken map[goal]bool
}

func newGoals(cfg *Config) *goals {
	g := &goals{cfg: cfg, taken: make(map[goal]bool)}
	for i := range cfg.Tables {
		m := cfg.Tables[i].Machine
		for _, s := range append([]statemachine.State{statemachine.None}, m.States()...) {
			for _, e := range m.Events() {
				for n := range targets(m, s, e) {
					g.all = append(g.all, goal{m.Name(), s, e, n})
				}
			}
		}
	}
	return g
}

// targets returns the states to which the branches of an event lead.
func targets(m *statemachine.Machine, s statemachine.State, e statemachine.Event) (all []statemachine.State) {
	if branches := m.Branches(s, e); branches != nil {
		for i := range branches {
			all = append(all, branches[i].To)
		}
		return all
	}
	if to, ok := m.Fire(s, e); ok {
		all = append(all, to)
	}
	return all
}

// wants reports whether some branch of an event was not taken yet.
func (g *goals) wants(machine string, s statemachine.State, e statemachine.Event) bool {
	for n := range targets(g.cfg.machine(machine), s, e) {
		if !g.taken[goal{machine, s, e, n}] {
			return true
		}
	}
	return false
}

// note marks the branches that the steps of a world have taken.
func (g *goals) note(w *world) {
	m := w.back.(*memory)
	names, _ := m.entities(w.ctx) // in memory it does not fail
	for _, e := range names {
		for _, s := range m.History(e) {
			g.take(w, e, Step{s.Version, s.Event, s.From, s.To, numberOf(s.Origin)})
		}
	}
}

// take marks the branch of a step. If it is not known which of several that lead to the same state
// was taken, it marks all of them.
func (g *goals) take(w *world, e versioning.Entity, s Step) {
	known := -1
	if s.by > 0 && s.by <= int64(len(w.sent)) {
		if by := w.sent[s.by-1]; by.first.Verdict == versioning.Applied {
			for i := range by.record.Changes {
				if n, ok := by.branches[i]; ok && by.record.Entity(i) == e {
					known = n
				}
			}
		}
	}
	all := targets(g.cfg.machine(e.Machine), s.From, s.Event)
	if known >= len(all) || known >= 0 && all[known] != s.To {
		known = -1
	}
	for n, to := range all {
		if to == s.To && (known < 0 || known == n) {
			g.taken[goal{e.Machine, s.From, s.Event, n}] = true
		}
	}
}

// left returns the branches that were not taken, except some.
func (g *goals) left(except []string) (left []string) {
	for _, want := range g.all {
		if name := g.name(want); !g.taken[want] && !slices.Contains(except, name) {
			left = append(left, name)
		}
	}
	return left
}

// name returns the name of a branch.
func (g *goals) name(of goal) string {
	m := g.cfg.machine(of.machine)
	text := string(of.event)
	if of.from != statemachine.None {
		text = string(of.from) + " " + text
	}
	if len(g.cfg.Tables) > 1 {
		text = of.machine + ": " + text
	}
	branches := m.Branches(of.from, of.event)
	if len(branches) < 2 {
		return text
	}
	if label := branches[of.branch].Label(); label != "" {
		return text + fmt.Sprintf(" (%s)", label)
	}
	return text + " (otherwise)"
}
