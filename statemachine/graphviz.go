package statemachine

import (
	"fmt"
	"strings"
)

// Graphviz returns the machine in the DOT language, with a final newline. It
// escapes all names, draws terminal states with a double border, and writes the
// label of a branch's condition in brackets and a deadline in parentheses.
func (m *Machine) Graphviz() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph machine {\n    label=%s;\n", dotText(fmt.Sprintf("%s v%d", m.def.Name, m.def.Version)))
	b.WriteString("    rankdir=LR;\n    node [shape=box, style=rounded];\n    start [shape=point, label=\"\"];\n")
	for i, s := range m.states[none+1:] {
		border := ""
		if m.terminal[s] {
			border = ", peripheries=2"
		}
		fmt.Fprintf(&b, "    %s [label=%s%s];\n", m.alias(i+1), dotText(string(s)), border)
	}
	for _, l := range m.lines() {
		from, label := "start", l.event
		if l.from != none {
			from = m.alias(l.from)
		}
		label += l.note(func(s string) string { return s })
		fmt.Fprintf(&b, "    %s -> %s [label=%s];\n", from, m.alias(l.to), dotText(label))
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
