package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

func comingFrom(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestMovingOver runs the session of coming-from.md, and compares what the commands print.
func TestMovingOver(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, 1)
	s := session{t: t, dir: t.TempDir(), url: testenv.Postgres(t), env: []string{
		"TOPIC=" + topic, "KAFKA_BROKERS=" + strings.Join(testenv.Brokers(t), ","),
	}}
	s.buildProgram("-o", filepath.Join(s.dir, "shop"), "../examples/replaying")
	// The page shows the dry run, which changes nothing, after what happens before it.
	page := comingFrom(t)
	blocks := replayedBlock.FindAllStringSubmatch(page, -1)
	ran := make(map[string]string, len(blocks))
	for _, i := range sessionOrder {
		out := s.run(blocks[i][1])
		ran[blocks[i][0]] = "```console\n" + replayTook.ReplaceAllString(strings.ReplaceAll(out, topic, "orders"), " in 0.1s\n") + "```"
	}
	got := replayedBlock.ReplaceAllStringFunc(page, func(block string) string { return ran[block] })
	s.check("coming-from.md", page, got)
}

// sessionOrder is the order in which the blocks of the session run: the last but one is about
// rows without history, so it runs before they get one.
var sessionOrder = []int{0, 4, 1, 2, 3, 5}

var (
	pageSnippet = regexp.MustCompile("(?s)<!-- snippet: ([^\n]*) -->\n\n```go\n(.*?)```")
	codeSnippet = regexp.MustCompile(`(?s)// snippet: ([^\n]*)\n\n(.*?)\n// snippet: `)
	zeroRow     = regexp.MustCompile("(?m)^\\| ([^|`]+) \\| ([A-Z][a-z]+) \\| (?:`([a-z_]+)`)? ?\\|$")
)

// TestSnippets checks that the Go code of coming-from.md is that of coming_from_code_test.go,
// which the compiler has checked.
func TestSnippets(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("coming_from_code_test.go")
	if err != nil {
		t.Fatal(err)
	}
	compiled := make(map[string]string)
	for at := 0; ; {
		found := codeSnippet.FindSubmatchIndex(code[at:])
		if found == nil {
			break
		}
		compiled[string(code[at+found[2]:at+found[3]])] = string(code[at+found[4] : at+found[5]])
		at += found[5]
	}
	shown := make(map[string]string)
	for _, s := range pageSnippet.FindAllStringSubmatch(comingFrom(t), -1) {
		shown[s[1]] = s[2]
	}
	if diff := cmp.Diff(compiled, shown); diff != "" {
		t.Errorf("the page shows other code than the compiler has checked (-compiled, +shown):\n%s", diff)
	}
	if len(shown) < 5 {
		t.Errorf("the page has only %d snippets", len(shown))
	}
}

// A zero is a case in which the UPDATE of the loop matches no row.
type zero struct {
	sent    []orderMessage // before the message
	write   func(*versioningtest.Memory, versioning.Entity)
	message orderMessage
}

// zeros are the cases of the page's table, by their first cell.
var zeros = map[string]zero{
	"the message is delivered again": {sent: orderSteps("placed", "paid"), message: orderMessage{"1", "paid", 1}},
	"a message before it is late":    {sent: orderSteps("placed"), message: orderMessage{"1", "shipped", 2}},
	"the row is not there yet":       {message: orderMessage{"1", "paid", 1}},
	"the event is not legal in this state": {
		sent: orderSteps("placed", "paid", "shipped"), message: orderMessage{"1", "cancelled", 3},
	},
	"no transition has the event":             {sent: orderSteps("placed"), message: orderMessage{"1", "refunded", 1}},
	"a different event has taken the version": {sent: orderSteps("placed", "cancelled"), message: orderMessage{"1", "paid", 1}},
	"another writer has raised the version":   {sent: orderSteps("placed"), write: raise, message: orderMessage{"1", "paid", 1}},
	"the row was deleted":                     {sent: orderSteps("placed"), write: (*versioningtest.Memory).Delete, message: orderMessage{"1", "paid", 1}},
}

// orderSteps returns the messages of the first events of order 1.
func orderSteps(events ...statemachine.Event) (all []orderMessage) {
	for i, e := range events {
		all = append(all, orderMessage{"1", e, int64(i)})
	}
	return all
}

func raise(store *versioningtest.Memory, e versioning.Entity) {
	store.Update(e, func(row *versioningtest.Row) { row.Version++ })
}

// TestZeroRows checks the verdicts of the page's table.
func TestZeroRows(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(comingFrom(t), "| why the UPDATE matches no row |")
	table, _, _ = strings.Cut(table, "\n\n")
	got, want := make(map[string]string), make(map[string]string)
	for _, line := range zeroRow.FindAllStringSubmatch(table, -1) {
		got[line[1]] = strings.TrimSpace(strings.ToLower(line[2]) + " " + line[3])
	}
	for name, c := range zeros {
		want[name] = c.verdict(t)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the verdicts of the page (-decided, +page):\n%s", diff)
	}
}

// verdict returns the verdict on the case's message, with its reason.
func (c zero) verdict(t *testing.T) string {
	t.Helper()
	store := versioningtest.NewMemory(versioning.Rules{Machine: Order})
	var offset int64
	send := func(m orderMessage) versioning.Outcome {
		asked, err := changes(m, nil)
		r := &versioning.Record{Origin: versioning.Origin{Topic: "orders", Offset: offset}, Changes: asked}
		offset++
		store.Prepare(r)
		result, failed := store.Apply(t.Context(), "", []*versioning.Record{r})
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		return result.Outcomes[0]
	}
	for _, m := range c.sent {
		if o := send(m); o.Verdict != versioning.Applied {
			t.Fatalf("%+v: %+v", m, o)
		}
	}
	if c.write != nil {
		c.write(store, versioning.Entity{Machine: "order", Key: "1"})
	}
	o := send(c.message)
	return strings.TrimSpace(o.Verdict.String() + " " + string(o.Reason))
}
