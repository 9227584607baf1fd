package statemachine

import (
	"fmt"
	"strings"
	"unicode"
)

// Mermaid returns the machine as a Mermaid stateDiagram-v2, with a final
// newline. It escapes all names, and writes the label of a branch's condition in
// brackets and a deadline in parentheses.
func (m *Machine) Mermaid() string { return m.drawing().mermaid() }

// Mermaid is like [Machine.Mermaid].
func (o Outline) Mermaid() string { return o.drawing().mermaid() }

func (d *drawing) mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	for i, s := range d.states[none+1:] {
		fmt.Fprintf(&b, "    state \"%s\" as %s\n", mermaidText(string(s)), d.alias(i+1))
	}
	for _, l := range d.lines {
		from := "[*]"
		if l.from != none {
			from = d.alias(l.from)
		}
		fmt.Fprintf(&b, "    %s --> %s : %s%s\n", from, d.alias(l.to), mermaidText(l.event), l.note(mermaidText))
	}
	for i, s := range d.states {
		if d.terminal[s] {
			fmt.Fprintf(&b, "    %s --> [*]\n", d.alias(i))
		}
	}
	return b.String()
}

// mermaidText writes characters that Mermaid, Markdown or HTML might take for
// syntax as numeric entities: #34; for a quote.
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

// mermaidSafe reports whether the rune at i needs no escape. Letters, digits
// and accents need none. Neither does common punctuation inside a name; at
// either end it could be a trimmed space, emphasis or a list item.
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
