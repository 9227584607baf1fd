package statemachine

import (
	"fmt"
	"strings"
)

// Graphviz draws the machine in the DOT language, ending in a newline. Any name
// is escaped; terminal states have a double border, and a transition with a
// guard is marked [guard].
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
		from, label := "start", l.label
		if l.from != none {
			from = m.alias(l.from)
		}
		if l.guarded {
			label += " [guard]"
		}
		fmt.Fprintf(&b, "    %s -> %s [label=%s];\n", from, m.alias(l.to), dotText(label))
	}
	b.WriteString("}\n")
	return b.String()
}

// dotEscapes are the characters that mean something inside a DOT string: the
// closing quote, the escapes \N, \G and \l, and HTML entities.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`)

// dotText quotes s as a DOT string that is displayed as s.
func dotText(s string) string {
	return `"` + dotEscapes.Replace(visible(s)) + `"`
}
