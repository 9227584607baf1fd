package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pawl-go/pawl/versioning/postgres"
)

// A printer prints the result of a command.
type printer struct {
	to      io.Writer
	isJSON  bool
	colored bool
	now     time.Time // by the database's clock, for ages
}

const (
	bold   = "\x1b[1m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

func newPrinter(to io.Writer, output string, now time.Time) *printer {
	return &printer{
		to: to, isJSON: output == outputJSON, now: now,
		colored: isTerminal(to) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// isTerminal reports whether a reader or writer is a terminal.
func isTerminal(stream any) bool {
	switch s := stream.(type) {
	case interface{ IsTerminal() bool }: // in tests
		return s.IsTerminal()
	case *os.File:
		info, err := s.Stat()
		if err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return false
		}
		null, err := os.Stat(os.DevNull)
		return err != nil || !os.SameFile(info, null)
	}
	return false
}

// json prints a value as JSON.
func (p *printer) json(v any) error {
	e := json.NewEncoder(p.to)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// line prints a line of text.
func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.to, format+"\n", args...) }

// heading prints a line that stands out, after an empty one.
func (p *printer) heading(text string) {
	p.line("\n%s", p.colors(bold, text))
}

func (p *printer) colors(color, text string) string {
	if !p.colored {
		return text
	}
	return color + text + reset
}

// table prints rows in columns. The first row is the heading. Columns whose heading begins with a
// space are aligned to the right.
func (p *printer) table(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = visible(row[i])
			width[i] = max(width[i], utf8.RuneCountInString(strings.TrimPrefix(row[i], " ")))
		}
	}
	right := make([]bool, len(rows[0]))
	for i, title := range rows[0] {
		right[i] = strings.HasPrefix(title, " ")
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			cell = strings.TrimPrefix(cell, " ")
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = space + cell
			} else {
				cell += space
			}
			b.WriteString(cell + "  ")
		}
		text := strings.TrimRight(b.String(), " ")
		if n == 0 {
			text = p.colors(bold, text)
		}
		p.line("%s", text)
	}
}

// visible writes control characters and other unprintable characters as Go escapes. Keys, details
// and the like come from messages, and a terminal would obey them.
func visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// lines is visible, but keeps line breaks.
func lines(s, indent string) string {
	all := strings.Split(s, "\n")
	for i := range all {
		all[i] = visible(strings.ReplaceAll(all[i], "\t", "    "))
	}
	return strings.Join(all, "\n"+indent)
}

// ago returns how long ago a time was, in words.
func (p *printer) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := p.now.Sub(t)
	switch {
	case d < -time.Second:
		return "in " + span(-d)
	case d < time.Second:
		return "just now"
	}
	return span(d) + " ago"
}

// age returns how old something is, in words.
func (p *printer) age(t time.Time) string { return span(p.now.Sub(t)) }

// at returns a time and how long ago it was.
func (p *printer) at(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return stamp(t) + " (" + p.ago(t) + ")"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// span returns a duration in its largest unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		from   int64 // as many of them are named
		name   string
	}{{24 * time.Hour, 2, "days"}, {time.Hour, 2, "h"}, {time.Minute, 2, "min"}} {
		if n := int64(d / unit.length); n >= unit.from {
			return fmt.Sprintf("%d %s", n, unit.name)
		}
	}
	return fmt.Sprintf("%d s", int64(d/time.Second))
}

// A count is a postgres.Count as JSON.
type count struct {
	N         int64 `json:"n"`
	AtLeast   bool  `json:"at_least"`
	Estimated bool  `json:"estimated"`
}

func (c count) String() string {
	switch {
	case c.Estimated:
		return "~" + thousands(rounded(c.N))
	case c.AtLeast && c.N >= 1000:
		return thousands(c.N/1000*1000) + "+"
	case c.AtLeast:
		return thousands(c.N) + "+"
	}
	return thousands(c.N)
}

func countOf(c postgres.Count) count { return count{c.N, c.AtLeast, c.Estimated} }

// rounded keeps three digits of an estimate.
func rounded(n int64) int64 {
	unit := int64(1)
	for n/unit >= 1000 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// thousands writes a number with commas.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// of returns a count and a noun, such as "1 record" and "10,000+ records".
func (c count) of(noun string) string {
	if c.N == 1 && !c.AtLeast {
		return "1 " + noun
	}
	return c.String() + " " + noun + "s"
}

// plural returns a number and a noun, such as "1 record" and "2 records".
func plural(n int64, noun string) string {
	return count{N: n}.of(noun)
}
