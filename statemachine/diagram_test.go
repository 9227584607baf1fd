package statemachine_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/statemachine"
)

func TestMermaid(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	d.Transitions[4].When = statemachine.When("not \"packed\"", func(order, cancel) bool { return false })
	d.Transitions = slices.Insert(d.Transitions, 2,
		statemachine.Transition{Event: "payment.captured", From: statemachine.In(paid), To: shipped, When: statemachine.When("covers it", func(order, cancel) bool { return true })},
		statemachine.Transition{Event: "payment.captured", From: statemachine.In(paid), To: paid})
	want := `stateDiagram-v2
    state "pending" as s1_pending
    state "paid" as s2_paid
    state "shipped" as s3_shipped
    state "delivered" as s4_delivered
    state "cancelled" as s5_cancelled
    [*] --> s1_pending : order.placed
    s1_pending --> s2_paid : payment.captured
    s1_pending --> s5_cancelled : order.cancelled [not #34;packed#34;]
    s2_paid --> s3_shipped : payment.captured [covers it]
    s2_paid --> s2_paid : payment.captured [otherwise]
    s2_paid --> s3_shipped : order.shipped
    s2_paid --> s5_cancelled : order.cancelled [not #34;packed#34;]
    s3_shipped --> s4_delivered : order.delivered
    s4_delivered --> [*]
    s5_cancelled --> [*]
`
	if diff := cmp.Diff(want, compile(t, d).Mermaid()); diff != "" {
		t.Error(diff)
	}
}

func TestGraphviz(t *testing.T) {
	t.Parallel()
	d := two("placed", "pending", "paid off", "done")
	d.Transitions[1].When = statemachine.When("all of it", func(order, cancel) bool { return false })
	want := `digraph machine {
    label="two v1";
    rankdir=LR;
    node [shape=box, style=rounded];
    start [shape=point, label=""];
    s1_pending [label="pending"];
    s2_done [label="done", peripheries=2];
    start -> s1_pending [label="placed"];
    s1_pending -> s2_done [label="paid off [all of it]"];
}
`
	if diff := cmp.Diff(want, compile(t, d).Graphviz()); diff != "" {
		t.Error(diff)
	}
}

// two returns a machine of two states with the given names.
func two(create statemachine.Event, first statemachine.State, end statemachine.Event, last statemachine.State) statemachine.Definition {
	return statemachine.Definition{
		Name: "two", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: create, To: first},
			{Event: end, From: statemachine.In(first), To: last},
		},
		Terminal: statemachine.In(last),
	}
}

// awkward lists names that break a diagram that does not escape them.
var awkward = []string{
	"order pending", "geprüft", "注文", `say "hi"`, "a:b", "a::b", "a;b", "a\nb", "a\r\nb", "end", "state", "note", "[*]",
	"-->", "--", "%% comment", "%%{init: {}}%%", "#35;", "&amp;", "<b>x</b>", `back\slash`, `\N`, `trailing\`, "{x}",
	"`code`", "*a*", "_a_", "1. first", "- item", " ", "a\u2028b", "a\u00a0b", "e\u0301", "graph", "subgraph", "style", "s1_",
}

func TestAwkwardNames(t *testing.T) {
	t.Parallel()
	for _, name := range awkward {
		checkDiagrams(t, name)
	}
}

func FuzzDiagrams(f *testing.F) {
	for _, name := range awkward {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { checkDiagrams(t, name) })
}

var (
	mermaidState = regexp.MustCompile(`^    state "([^"]*)" as (s\d+_[0-9A-Za-z_]*)$`)
	mermaidArrow = regexp.MustCompile(`^    (?:\[\*\]|s\d+_[0-9A-Za-z_]*) --> (?:\[\*\]|s\d+_[0-9A-Za-z_]* : (.+))$`)
	mermaidCode  = regexp.MustCompile(`#(\d+);`)
	mermaidPlain = regexp.MustCompile(`^[\pL\pN\pM ._/-]*$`)

	dotState = regexp.MustCompile(`^    s\d+_[0-9A-Za-z_]* \[label="((?:[^"\\]|\\.)*)"(?:, peripheries=2)?\];$`)
	dotArrow = regexp.MustCompile(`^    (?:start|s\d+_[0-9A-Za-z_]*) -> s\d+_[0-9A-Za-z_]* \[label="((?:[^"\\]|\\.)*)"\];$`)
)

// checkDiagrams draws a machine that uses one name everywhere, parses the lines
// with a strict grammar and expects to find the name again.
func checkDiagrams(t *testing.T, name string) {
	t.Helper()
	event, state := statemachine.Event(name), statemachine.State(name)
	m, err := statemachine.Compile(two(event, state, event, state+"'"))
	if err != nil {
		t.Skip(err) // not a valid name
	}
	mermaid := strings.Split(strings.TrimSuffix(m.Mermaid(), "\n"), "\n")
	if len(mermaid) != 6 {
		t.Fatalf("%q: %d lines of Mermaid:\n%s", name, len(mermaid), m.Mermaid())
	}
	first, second := mermaidState.FindStringSubmatch(mermaid[1]), mermaidState.FindStringSubmatch(mermaid[2])
	if first == nil || second == nil || first[2] == second[2] {
		t.Fatalf("%q: %q, %q", name, mermaid[1], mermaid[2])
	}
	compareLabel(t, name, mermaidDecoded(t, first[1]))
	compareLabel(t, name+"'", mermaidDecoded(t, second[1]))
	for _, line := range mermaid[3:5] {
		arrow := mermaidArrow.FindStringSubmatch(line)
		if arrow == nil {
			t.Fatalf("%q: %q", name, line)
		}
		compareLabel(t, name, mermaidDecoded(t, arrow[1]))
	}

	dot := strings.Split(m.Graphviz(), "\n")
	if len(dot) != 11 {
		t.Fatalf("%q: %d lines of DOT:\n%s", name, len(dot), m.Graphviz())
	}
	for i, re := range []*regexp.Regexp{dotState, dotState, dotArrow, dotArrow} {
		match := re.FindStringSubmatch(dot[5+i])
		if match == nil {
			t.Fatalf("%q: %q", name, dot[5+i])
		}
		label := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `&amp;`, `&`).Replace(match[1])
		compareLabel(t, name, strings.TrimSuffix(label, "'"))
	}
}

// compareLabel expects label to be name with its unprintable characters
// escaped.
func compareLabel(t *testing.T, name, label string) {
	t.Helper()
	if strings.TrimSuffix(name, "'") == strings.TrimSuffix(label, "'") {
		return
	}
	spelled, err := strconv.Unquote(`"` + strings.ReplaceAll(label, `"`, `\"`) + `"`)
	if err == nil && strings.TrimSuffix(spelled, "'") == strings.TrimSuffix(name, "'") {
		return
	}
	if strings.Contains(name, `\`) {
		return // cannot be told from an escape
	}
	t.Errorf("%q is labelled %q", name, label)
}

// mermaidDecoded resolves the numeric entities and checks that nothing else
// could be taken for syntax.
func mermaidDecoded(t *testing.T, s string) string {
	t.Helper()
	if rest := mermaidCode.ReplaceAllString(s, ""); !mermaidPlain.MatchString(rest) {
		t.Errorf("%q is not escaped", rest)
	}
	return mermaidCode.ReplaceAllStringFunc(s, func(code string) string {
		n, err := strconv.Atoi(code[1 : len(code)-1])
		if err != nil {
			t.Error(err)
		}
		return string(rune(n))
	})
}

// TestOutlineDiagrams checks that an outline, as it is stored, has the same states and lines as its
// machine.
func TestOutlineDiagrams(t *testing.T) {
	t.Parallel()
	d := orderDefinition()
	d.Transitions[4].When = statemachine.When("not packed", func(order, cancel) bool { return false })
	d.Transitions = slices.Insert(d.Transitions, 2,
		statemachine.Transition{Event: "payment.captured", From: statemachine.In(paid), To: shipped, When: statemachine.When("covers it", func(order, cancel) bool { return true })},
		statemachine.Transition{Event: "payment.captured", From: statemachine.In(paid), To: paid})
	d.Migrations = []statemachine.Migration{{From: statemachine.In("old"), To: paid}}
	m := compile(t, d)
	text, err := json.Marshal(m.Outline())
	if err != nil {
		t.Fatal(err)
	}
	var o statemachine.Outline
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`\bs\d+_`)
	lines := func(diagram string) []string {
		all := strings.Split(number.ReplaceAllString(diagram, "s_"), "\n")
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(lines(m.Mermaid()), lines(o.Mermaid())); diff != "" {
		t.Errorf("Mermaid (-machine, +outline):\n%s", diff)
	}
	if diff := cmp.Diff(lines(m.Graphviz()), lines(o.Graphviz())); diff != "" {
		t.Errorf("Graphviz (-machine, +outline):\n%s", diff)
	}
}
