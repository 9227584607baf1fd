package statemachine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A drawing is what a diagram shows.
type drawing struct {
	title    string
	states   []State // the first one, none, is the start
	terminal map[State]bool
	lines    []line
}

// line is one transition in a diagram.
type line struct {
	from, to  int // indices of states; none is the start
	event     string
	condition string // "" if the transition has none
	after     string // its deadline; "" if it has none
}

func (m *Machine) drawing() *drawing {
	return &drawing{title(m.def.Name, m.def.Version), m.states, m.terminal, m.lines()}
}

func title(name string, version int) string { return fmt.Sprintf("%s v%d", name, version) }

// drawing returns the drawing of an outline. Its states are in the order in which they can be
// reached.
func (o Outline) drawing() *drawing {
	d := &drawing{title: title(o.Name, o.Version), states: []State{None}, terminal: make(map[State]bool)}
	for i := 0; i < len(d.states); i++ {
		for _, a := range o.Arrows {
			if a.From != d.states[i] || a.Event == Migrated {
				continue
			}
			for _, t := range a.Targets {
				d.lines = append(d.lines, line{i, d.index(t.To), string(a.Event), a.condition(t), a.deadline()})
			}
		}
	}
	for _, s := range o.Terminal {
		d.terminal[s] = true
	}
	return d
}

// index returns the index of a state, which it adds if there is none.
func (d *drawing) index(s State) int {
	i := slices.Index(d.states, s)
	if i < 0 {
		i = len(d.states)
		d.states = append(d.states, s)
	}
	return i
}

// condition returns the label of a branch in a diagram.
func (a *Arrow) condition(t Target) string {
	if t.When == "" && len(a.Targets) > 1 {
		return "otherwise"
	}
	return t.When
}

func (a *Arrow) deadline() string {
	if a.After == "" {
		return ""
	}
	return "after " + a.After
}

// lines lists all transitions, by state and then by event, in order of first
// mention.
func (m *Machine) lines() []line {
	var all []line
	for s := range m.states {
		for e := range m.events {
			c := m.at(s, e)
			branches := m.branches[c.branches]
			if c.branches == 0 && c.to != none {
				all = append(all, line{s, int(c.to), string(m.events[e]), "", m.after(s, e)})
			}
			for i := range branches {
				condition := branches[i].Label()
				if condition == "" && len(branches) > 1 {
					condition = "otherwise"
				}
				all = append(all, line{s, int(branches[i].to), string(m.events[e]), condition, m.after(s, e)})
			}
		}
	}
	return all
}

// after returns the deadline of an event in a state, in words, or "".
func (m *Machine) after(state, event int) string {
	for _, d := range m.deadlines[m.states[state]] {
		if d.Event == m.events[event] {
			return "after " + d.String()
		}
	}
	return ""
}

// note returns what a diagram says about a transition beside its event, with escaped text.
func (l *line) note(escape func(string) string) (note string) {
	if l.after != "" {
		note += " (" + escape(l.after) + ")"
	}
	if l.condition != "" {
		note += " [" + escape(l.condition) + "]"
	}
	return note
}

// alias returns an identifier for the state with index i that is safe in both
// diagram languages. The number makes it unique; the letters make it readable.
func (d *drawing) alias(i int) string {
	const longest = 40
	letters := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '_'
	}, string(d.states[i]))
	return fmt.Sprintf("s%d_%.*s", i, longest, letters)
}

// visible writes control characters and other unprintable characters as Go
// escapes, so that they cannot break a line and are not mistaken for spaces.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
