package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// count returns what a query for a number returns.
func count(t *testing.T, url, sql string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// TestConfirmation checks that what can't be undone is done only after a yes.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	program := []postgres.Table{{Machine: bulb(1), Name: "bulbs"}}
	letters := count(t, url, `SELECT count(*) FROM pawl.dead_letters`)
	for _, c := range []struct {
		args   string
		isTerm bool
		stdin  string
		status int
		says   string
	}{
		{"dead-letters drop 1", false, "y\n", 2, "there is no terminal to ask on; use --yes"},
		{"dead-letters drop 1", true, "n\n", 2, "nothing was done"},
		{"dead-letters drop 1", true, "", 2, "nothing was done"},
		{"dead-letters drop", false, "", 2, "use --all"},
		{"dead-letters drop --yes", false, "", 2, "use --all"},
		{"parked drop --all", false, "y\n", 2, "use --yes"},
		{"parked drop 1", true, "no\n", 2, "Drop 1 parked record for good? [y/N]"},
		{"dead-letters redrive --all --apply", false, "y\n", 2, "use --yes"},
		{"dead-letters redrive --all --apply", true, "\n", 2, "Redrive all 4 dead letters? [y/N]"},
		{"dead-letters redrive", false, "", 2, "use --all"},
		{"dead-letters drop 99", false, "", 1, "1 of the dead letters that were named are not there"},
		{"dead-letters drop x --yes", false, "", 2, "not an ID"},
	} {
		_, stderr, status := (&console{url: url, tables: program, stdin: c.stdin, isTerm: c.isTerm}).run(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: status %d, want %d: %s", c.args, status, c.status, stderr)
		}
	}
	if n := count(t, url, `SELECT count(*) FROM pawl.dead_letters`); n != letters {
		t.Errorf("%d dead letters are left of %d", n, letters)
	}
	if n := count(t, url, `SELECT count(*) FROM pawl.audit`); n != 0 {
		t.Errorf("%d entries of what was not done", n)
	}
}

// TestDrop drops what was exported, and lists who did it.
func TestDrop(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	file := filepath.Join(t.TempDir(), "dead.jsonl")
	c := &console{url: url, stdin: "y\n", isTerm: true}
	run := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, status := c.run(t, args...)
		if status != want {
			t.Errorf("%v: status %d, want %d: %s", args, status, want, stderr)
		}
		return stdout
	}
	run(0, "dead-letters", "export", "1", "2", "--file", file)
	run(2, "dead-letters", "export", "1", "--file", file) // it exists
	run(1, "dead-letters", "export", "1", "99")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	exported := strings.Split(strings.TrimSpace(string(text)), "\n")
	var first struct {
		ID     int64
		Record struct {
			Value   string
			Headers []struct {
				Base64 []byte `json:"value_base64"`
			}
		}
	}
	if err := json.Unmarshal([]byte(exported[0]), &first); err != nil || len(exported) != 2 || first.ID != 1 || first.Record.Value != "7 melted" || first.Record.Headers[0].Base64[0] != 0xff {
		t.Errorf("exported %+v, %v:\n%s", first, err, text)
	}

	if out := run(0, "dead-letters", "drop", "1", "2", "--as", "ada"); out != "dropped 2 dead letters\n" {
		t.Error(out)
	}
	if out := run(1, "dead-letters", "drop", "2", "3", "--yes", "--as", "ada", "--output", "json"); out != "{\n  \"dropped\": 1\n}\n" {
		t.Error(out)
	}
	run(0, "parked", "drop", "--machine", "bulb", "--limit", "1", "--yes", "--as", "bob")
	if n := count(t, url, `SELECT count(*) FROM pawl.dead_letters WHERE id < 4`); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	if n := count(t, url, `SELECT count(*) FROM pawl.audit WHERE actor = 'ada' AND by = session_user AND verb = 'dead-letters drop'`); n != 2 {
		t.Errorf("%d entries of ada", n)
	}
	count(t, url, `WITH renamed AS (UPDATE pawl.audit SET by = 'operator', at = now() - interval '3 hours 20 minutes' RETURNING 1) SELECT count(*) FROM renamed`)
	golden(t, "audit", run(0, "audit", "list"))
	golden(t, "audit-json", run(0, "audit", "list", "--limit", "1", "--output", "json"))
	run(0, "dead-letters", "drop", "--all", "--yes")
	if n := count(t, url, `SELECT count(*) FROM pawl.audit WHERE actor LIKE '%@%'`); n != 1 {
		t.Errorf("%d entries without --as", n)
	}
}

// TestRedrive redrives a dead letter after its cause has gone.
func TestRedrive(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	c := &console{url: url, tables: []postgres.Table{{Machine: bulb(1), Name: "bulbs"}}}
	stdout, stderr, status := c.run(t, "dead-letters", "redrive", "1", "--apply", "--as", "ada")
	if status != 1 || !strings.Contains(stdout, "0 settled, 1 left") {
		t.Errorf("before the repair: status %d\n%s%s", status, stdout, stderr)
	}
	// The event was misspelt.
	count(t, url, `WITH repaired AS (UPDATE pawl.dead_letters SET value = '7 broken' WHERE id = 1 RETURNING 1) SELECT count(*) FROM repaired`)
	stdout, stderr, status = c.run(t, "dead-letters", "redrive", "1", "--apply", "--as", "ada")
	if status != 0 || !strings.Contains(stdout, "1 settled, 0 left") {
		t.Errorf("after it: status %d\n%s%s", status, stdout, stderr)
	}
	if n := count(t, url, `SELECT count(*) FROM pawl.audit WHERE actor = 'ada' AND verb = 'dead-letters redrive' AND arguments = '1 --apply=true' AND ids = '{1}'`); n != 2 {
		t.Errorf("%d entries in the audit", n)
	}
	if n := count(t, url, `SELECT count(*) FROM bulbs WHERE id = '7' AND state = 'dead'`); n != 1 {
		t.Error("the record was not applied")
	}
	if _, stderr, status = c.run(t, "dead-letters", "redrive", "1", "--apply"); status != 1 || !strings.Contains(stderr, "not there") {
		t.Errorf("once more: status %d: %s", status, stderr)
	}
}

// TestErrors checks the exit status after errors, and that they say what to do.
func TestErrors(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	url := testenv.Postgres(t, withBulbs)
	empty := testenv.Postgres(t)
	for _, c := range []struct {
		url, args string
		status    int
		says      string
	}{
		{"", "status", 2, "--database-url"},
		{empty, "status", 2, "pawl migrate up"},
		{url, "status --output xml", 2, "table or json"},
		{url, "status --brokers 127.0.0.1:1", 2, "--brokers"},
		{url, "status now", 2, "unknown command"},
		{url, "entity", 2, "accepts 1 arg"},
		{url, "entity 1 --limit 0", 2, "--limit"},
		{"", "dead-letters lits", 2, "unknown command"},
		{url, "dead-letters redrive --all", 2, "unknown flag"}, // pawl does not have it
		{url, "dead-letters show", 2, "accepts 1 arg"},
		{url, "dead-letters list --limit 100001", 2, "--limit"},
		{url, "dead-letters list --from yesterday", 2, "--from"},
		{url, "parked list --after 17", 2, "--after"},
		{url, "parked show 99", 1, "no parked record 99"},
		{url, "timers list --to 1h --limit -1", 2, "--limit"},
		{url, "machine show nosuch", 1, "not registered"},
		{url, "machine show bulb --version 9", 1, "not registered"},
		{url, "machine diagram bulb --format svg", 2, "mermaid or graphviz"},
		{url, "machine check bulb --to 1", 1, "is the first"},
		{url, "machine check bulb --file nosuch.json", 2, "nosuch.json"},
		{url, "machine check bulb --file x --to 1", 2, "use one of them"},
	} {
		_, stderr, status := (&console{url: c.url}).run(t, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: status %d, want %d with %q: %s", c.args, status, c.status, c.says, stderr)
		}
	}
}

// TestMachineFile compares the machine in a file with the registered one.
func TestMachineFile(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	file := filepath.Join(t.TempDir(), "machines.json")
	if _, stderr, status := (&console{tables: []postgres.Table{{Machine: bulb(1), Name: "bulbs"}}}).run(t, "check", "--write", file); status != 0 {
		t.Fatal(stderr)
	}
	for args, want := range map[string]string{
		"machine check bulb --from 1 --file " + file: "bulb: versions 1 and 1 do not differ\n",
		"machine check bulb --file " + file:          "bulb: from version 2 to 1\n",
	} {
		if stdout, stderr, status := (&console{url: url}).run(t, strings.Fields(args)...); status != 0 || !strings.HasPrefix(stdout, want) {
			t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
		}
	}
}

// TestCompletion checks what a shell suggests.
func TestCompletion(t *testing.T) {
	t.Setenv("DATABASE_URL", testenv.Postgres(t, withBulbs))
	for args, want := range map[string]string{
		"status --output ":               "table json",
		"machine show ":                  "bulb",
		"machine show bulb ":             "",
		"dead-letters list --machine ":   "bulb",
		"machine diagram bulb --format ": "mermaid graphviz",
		"dead-letters s":                 "show",
	} {
		stdout, stderr, status := (&console{}).run(t, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		var got []string
		for line := range strings.SplitSeq(strings.TrimSpace(stdout), "\n") {
			if name, _, _ := strings.Cut(line, "\t"); !strings.HasPrefix(name, ":") {
				got = append(got, name)
			}
		}
		if status != 0 || strings.Join(got, " ") != want {
			t.Errorf("%q: status %d, %q, want %q\n%s", args, status, got, want, stderr)
		}
	}
	if stdout, _, status := (&console{}).run(t, "completion", "bash"); status != 0 || !strings.Contains(stdout, "__start_pawl") {
		t.Errorf("completion bash: status %d", status)
	}
	t.Setenv("DATABASE_URL", "postgres://127.0.0.1:1/nosuch")
	if _, _, status := (&console{}).run(t, "__complete", "machine", "show", ""); status != 0 {
		t.Errorf("completion without a server: status %d", status)
	}
}

// TestHelp checks that each command says what it does, and has an example that parses.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		path = strings.TrimSpace(path + " " + cmd.Name())
		if len(cmd.Commands()) > 0 {
			for _, sub := range cmd.Commands() {
				walk(sub, path)
			}
			return
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no description or no example", path)
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			words := strings.Fields(strings.Split(line, "  #")[0])
			if !strings.HasPrefix(strings.Join(words, " "), strings.Fields(path)[0]) {
				t.Errorf("the example %q of %s does not begin with it", line, path)
			}
			for _, word := range words {
				name, isFlag := strings.CutPrefix(word, "--")
				if name, _, _ = strings.Cut(name, "="); isFlag && cmd.Flag(name) == nil {
					t.Errorf("the example %q has a flag that is not there", line)
				}
			}
		}
	}
	var names []string
	for _, cmd := range cli.Commands(cli.Config{Tables: []postgres.Table{{Machine: bulb(1), Name: "bulbs"}}}) {
		walk(cmd, "")
		names = append(names, cmd.Name())
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "audit check dead-letters entity machine migrate-entities parked replay status timers unsent withdraw" {
		t.Errorf("the commands of a program: %s", got)
	}
}
