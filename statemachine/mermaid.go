package statemachine

import (
	"fmt"
	"strings"
	"unicode"
)

// Mermaid draws the machine as a Mermaid stateDiagram-v2, ending in a newline.
// Any name is escaped; a transition with a guard is marked [guard].
func (m *Machine) Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	for i, s := range m.states[none+1:] {
		fmt.Fprintf(&b, "    state \"%s\" as %s\n", mermaidText(string(s)), m.alias(i+1))
	}
	for _, l := range m.lines() {
		from, guard := "[*]", ""
		if l.from != none {
			from = m.alias(l.from)
		}
		if l.guarded {
			guard = " [guard]"
		}
		fmt.Fprintf(&b, "    %s --> %s : %s%s\n", from, m.alias(l.to), mermaidText(l.label), guard)
	}
	for i, s := range m.states {
		if m.terminal[s] {
			fmt.Fprintf(&b, "    %s --> [*]\n", m.alias(i))
		}
	}
	return b.String()
}

// mermaidText writes everything that Mermaid might take for syntax, for Markdown
// or for HTML as a numeric entity, #34; for a quote.
func mermaidText(s string) string {
	runes := []rune(visible(s))
	var b strings.Builder
	for i, r := range runes {
		if mermaidSafe(runes, i) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "#%d;", r)
	}
	return b.String()
}

// mermaidSafe reports whether the rune at i can stand for itself: letters,
// digits and accents can, the marks of ordinary names too unless they begin or
// end something (a trimmed space, emphasis, a list item).
func mermaidSafe(runes []rune, i int) bool {
	inside := i > 0 && i < len(runes)-1
	switch r := runes[i]; r {
	case ' ', '_', '/':
		return inside
	case '.', '-':
		return inside && runes[i+1] != ' ' && runes[i+1] != r
	default:
		return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
	}
}
