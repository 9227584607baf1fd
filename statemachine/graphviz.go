package statemachine

import (
	"fmt"
	"strings"
)

// Graphviz returns the machine in the DOT language, with a final newline. It
// escapes all names, draws terminal states with a double border, and writes the
// label of a branch's condition in brackets and a deadline in parentheses.
func (m *Machine) Graphviz() string { return m.drawing().graphviz() }

// Graphviz is like [Machine.Graphviz].
func (o Outline) Graphviz() string { return o.drawing().graphviz() }

func (d *drawing) graphviz() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph machine {\n    label=%s;\n", dotText(d.title))
	b.WriteString("    rankdir=LR;\n    node [shape=box, style=rounded];\n    start [shape=point, label=\"\"];\n")
	for i, s := range d.states[none+1:] {
		border := ""
		if d.terminal[s] {
			border = ", peripheries=2"
		}
		fmt.Fprintf(&b, "    %s [label=%s%s];\n", d.alias(i+1), dotText(string(s)), border)
	}
	for _, l := range d.lines {
		from, label := "start", l.event
		if l.from != none {
			from = d.alias(l.from)
		}
		label += l.note(func(s string) string { return s })
		fmt.Fprintf(&b, "    %s -> %s [label=%s];\n", from, d.alias(l.to), dotText(label))
	}
	b.WriteString("}\n")
	return b.String()
}

// dotEscapes escapes the characters that are special in a DOT string: the
// closing quote, the escapes \N, \G and \l, and HTML entities.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`)

// dotText returns a DOT string that displays as s.
func dotText(s string) string {
	return `"` + dotEscapes.Replace(visible(s)) + `"`
}
