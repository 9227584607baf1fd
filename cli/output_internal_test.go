package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/pawl-go/pawl/versioning/postgres"
)

type screen struct{ strings.Builder }

func (*screen) IsTerminal() bool { return true }

// TestWords checks how numbers and times are written.
func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	p := newPrinter(&strings.Builder{}, outputTable, now)
	for ago, want := range map[time.Duration]string{
		0: "just now", 999 * time.Millisecond: "just now", time.Second: "1 s ago", 119 * time.Second: "119 s ago", 2 * time.Minute: "2 min ago",
		119 * time.Minute: "119 min ago", 2 * time.Hour: "2 h ago", 47 * time.Hour: "47 h ago", 48 * time.Hour: "2 days ago", -3 * time.Hour: "in 3 h",
	} {
		if got := p.ago(now.Add(-ago)); got != want {
			t.Errorf("%v: %q, want %q", ago, got, want)
		}
	}
	if got := p.at(now.Add(-time.Hour)); got != "2026-01-31 11:00:00Z (60 min ago)" || p.ago(time.Time{}) != "-" || p.at(time.Time{}) != "-" {
		t.Errorf("at: %q", got)
	}
	for c, want := range map[postgres.Count]string{
		{N: 0}: "0", {N: 999}: "999", {N: 1000}: "1,000", {N: 1234567}: "1,234,567", {N: 10001, AtLeast: true}: "10,000+", {N: 53, AtLeast: true}: "53+",
		{N: 1234567, Estimated: true}: "~1,230,000", {N: 999_600, Estimated: true}: "~1,000,000", {N: 12, Estimated: true}: "~12",
	} {
		if got := countOf(c).String(); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
	for text, want := range map[string]string{"a b": "a b", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb": `a\nb`, `"é"`: `"é"`, "\xff\"": `\xff"`} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) = %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"order-1": "order-1", "a b": "'a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := quoted(text); got != want {
			t.Errorf("quoted(%q) = %s, want %s", text, got, want)
		}
	}
}

// TestColors checks that there are colors on a terminal only, and not with NO_COLOR.
func TestColors(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	draw := func() string {
		s := &screen{}
		newPrinter(s, outputTable, time.Time{}).table([][]string{{"A", " B"}, {"long", "1"}})
		return s.String()
	}
	if got, want := draw(), bold+"A     B"+reset+"\nlong  1\n"; got != want {
		t.Errorf("on a terminal: %q, want %q", got, want)
	}
	const plain = "A     B\nlong  1\n"
	t.Setenv("TERM", "dumb")
	if got := draw(); got != plain {
		t.Errorf("with TERM=dumb: %q", got)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "1")
	if got := draw(); got != plain {
		t.Errorf("with NO_COLOR: %q", got)
	}
	var b strings.Builder
	newPrinter(&b, outputTable, time.Time{}).table([][]string{{"A", " B"}, {"long", "1"}})
	if b.String() != plain {
		t.Errorf("not on a terminal: %q", b.String())
	}
}
