package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bulb is the machine of these tests. Its second version retires a state.
func bulb(version int) *statemachine.Machine {
	d := statemachine.Definition{
		Name: "bulb", Version: version,
		Transitions: []statemachine.Transition{
			{Event: "screwed in", To: "off"},
			{Event: "switched", From: statemachine.In("off"), To: "on"},
			{Event: "dimmed", From: statemachine.In("on"), To: "dim"},
			{Event: "expired", From: statemachine.In("off"), To: "dead", After: 36 * time.Hour},
			{Event: "broken", From: statemachine.In("off", "on", "dim"), To: "dead"},
		},
		Terminal: statemachine.In("dead"),
	}
	if version == 2 { // there is no dimmer any more
		d.Transitions = append(d.Transitions[:2:2], d.Transitions[3:]...)
		d.Transitions[3].From = statemachine.In("off", "on")
	}
	return statemachine.MustCompile(d)
}

// decodeBulb takes what a record says, "key event".
func decodeBulb(r *versioning.Record) ([]versioning.Change, error) {
	key, event, ok := strings.Cut(string(r.Value), " ")
	if !ok {
		return nil, errors.New("a space is missing")
	}
	return []versioning.Change{{Machine: "bulb", Key: key, Event: statemachine.Event(event)}}, nil
}

// withBulbs is a database in which everything there is can be seen.
var withBulbs = testenv.Template("bulbs", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, `CREATE TABLE bulbs (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, room text)`); err != nil {
		return err
	}
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: bulb(1), Name: "bulbs"})
	if err != nil {
		return err
	}
	var records []*versioning.Record
	for i, value := range []string{
		"7 screwed in", "7 switched", "8 screwed in", "9 switched", "7 melted", "nonsense", "8 broken", "8 switched", "7 dimmed", "10 broken", "1\x1b[2J nosuch",
	} {
		r := &versioning.Record{
			Origin: versioning.Origin{Topic: "bulbs", TopicID: [16]byte{1}, Partition: 2, Offset: int64(i)},
			Key:    []byte("k"), Value: []byte(value), Headers: []versioning.Header{{Key: "trace", Value: []byte{0xff, 1}}},
			Timestamp: time.Date(2026, 1, 31, 12, 0, i, 0, time.UTC),
		}
		r.Decode(decodeBulb)
		store.Prepare(r)
		records = append(records, r)
	}
	if _, err := store.Apply(ctx, "", records); err != nil {
		return err
	}
	_, err = pool.Exec(ctx, `
INSERT INTO pawl.machines (name, version, hash, revision, outline) VALUES ('bulb', 2, '', '', $1)`, bulb(2).Outline())
	if err != nil {
		return err
	}
	for _, sql := range []string{
		`UPDATE pawl.machines SET by = 'worker', at = now() - version * interval '73 hours'`,
		`UPDATE pawl.transitions SET at = now() - (30 - "offset") * interval '1 hour' - interval '20 minutes'`,
		`UPDATE pawl.parked SET parked_at = now() - (15 - seq) * interval '1 hour' - interval '20 minutes'`,
		`UPDATE pawl.dead_letters SET died_at = now() - (20 - id) * interval '1 hour' - interval '20 minutes'`,
		`UPDATE pawl.timers SET due = now() + interval '5 hours 20 minutes', dues = NULL`,
		`INSERT INTO pawl.timers (due, n, tries, machine, event, entities, versions) VALUES (now() - interval '3 hours 20 minutes', 1, 4, 'bulb', 'expired', '{11}', '{1}')`,
		`INSERT INTO pawl.timers (due, n, tries, machine, event, entities, versions) VALUES (now() + interval '5 hours 20 minutes', 1, 0, 'bulb', 'expired', '{7}', '{1}')`,
		`UPDATE pawl.dead_letters SET "timestamp" = died_at - interval '1 hour'`,
		`UPDATE pawl.parked SET "timestamp" = parked_at - interval '1 hour'`,
		`INSERT INTO pawl.marks ("group", topic, topic_id, partition, "offset", at)
			SELECT 'bulb-workers', 'bulbs', '01000000-0000-0000-0000-000000000000', n, 1000 * n, now() - n * interval '60 hours 20 minutes' FROM generate_series(1, 2) AS n`,
		`INSERT INTO pawl.caught_up (topic_id, partition, machine, at) VALUES ('01000000-0000-0000-0000-000000000000', 2, 'bulb', now() - interval '2 hours 20 minutes')`,
		`INSERT INTO pawl.outbox (token, at, slot, lane, n, messages) VALUES (1, now() - interval '4 hours 20 minutes', 0, 0, 1234, '\x00')`,
		`INSERT INTO pawl.unsent (message_id, source, machine, entity, event, version, index, topic, key, value, content_type, headers, emitted_at, reason, detail, died_at)
			VALUES ('bulb/7/2/0', '', 'bulb', '7', 'switched', 2, 0, 'lights', 'k', 'v', '', '[]', now(), 'MESSAGE_TOO_LARGE', 'it is too large', now() - interval '6 hours 20 minutes')`,
	} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
})

// A console runs the command line of a program with bulbs.
type console struct {
	url    string
	tables []postgres.Table // none: the program is pawl
	stdin  string
	isTerm bool
}

// A typed is a standard input on which somebody types.
type typed struct {
	*strings.Reader

	isTerm bool
}

func (t typed) IsTerminal() bool { return t.isTerm }

// run returns the standard output and the exit status, and the error output with the error.
func (c *console) run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	root := &cobra.Command{Use: "pawl", SilenceErrors: true, SilenceUsage: true}
	if c.tables == nil {
		root.AddCommand(cli.DatabaseCommands("")...)
	} else {
		root.AddCommand(cli.Commands(cli.Config{Tables: c.tables, Decode: decodeBulb})...)
	}
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(typed{strings.NewReader(c.stdin), c.isTerm})
	root.SetArgs(args)
	if c.url != "" && args[0] != "__complete" {
		root.SetArgs(append(args, "--database-url", c.url))
	}
	err := root.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&errs, "error:", err)
	}
	return out.String(), errs.String(), cli.ExitStatus(err)
}

var times = regexp.MustCompile(`20\d\d-\d\d-\d\d([ T])\d\d:\d\d:\d\d(\.\d+)?Z`)

// golden compares a text with a file. All absolute times are the same one.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = times.ReplaceAllString(got, "2026-01-31${1}12:00:00Z")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s; to rewrite it, run the test with -update (-want, +got):\n%s", path, diff)
	}
}

// TestOutputs compares what the commands print with golden files.
func TestOutputs(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	program := []postgres.Table{{Machine: bulb(1), Name: "bulbs"}}
	for _, c := range []struct {
		name   string
		tables []postgres.Table
		args   string
		status int
	}{
		{"status", nil, "status", 0},
		{"status-partitions", nil, "status --partitions --check", 1},
		{"status-json", nil, "status --output json", 0},
		{"entity", nil, "entity 7", 0},
		{"entity-earlier", nil, "entity 7 --limit 1", 0},
		{"entity-payload", nil, "entity 7 --machine bulb --payload", 0},
		{"entity-json", nil, "entity 8 --output json", 0},
		{"entity-absent", nil, "entity nosuch", 1},
		{"dead-letters-list", nil, "dead-letters list", 0},
		{"dead-letters-page", nil, "dead-letters list --machine bulb --limit 1", 0},
		{"dead-letters-none", nil, "dead-letters list --reason constraint", 0},
		{"dead-letters-json", nil, "dead-letters list --limit 1 --payload --output json", 0},
		{"dead-letters-show", nil, "dead-letters show 1", 0},
		{"dead-letters-payload", program, "dead-letters show 1 --payload", 0},
		{"dead-letters-absent", nil, "dead-letters show 99", 1},
		{"dead-letters-export", nil, "dead-letters export", 0},
		{"redrive-dry", program, "dead-letters redrive --all", 1},
		{"redrive-json", program, "dead-letters redrive 1 --output json", 1},
		{"parked-list", nil, "parked list", 0},
		{"parked-page", nil, "parked list --limit 1", 0},
		{"parked-show", nil, "parked show 1", 0},
		{"parked-payload", nil, "parked show 1 --payload", 0},
		{"parked-json", nil, "parked list --limit 1 --output json", 0},
		{"timers", nil, "timers list", 0},
		{"timers-json", nil, "timers list --overdue --output json", 0},
		{"unsent", nil, "unsent list", 0},
		{"unsent-json", nil, "unsent list --payload --output json", 0},
		{"machines", nil, "machine show", 0},
		{"machine", nil, "machine show bulb --version 1", 0},
		{"machine-mermaid", nil, "machine diagram bulb", 0},
		{"machine-graphviz", nil, "machine diagram bulb --version 1 --format graphviz", 0},
		{"machine-check", nil, "machine check bulb", 1},
		{"machine-check-json", nil, "machine check bulb --from 1 --to 2 --output json", 1},
		{"audit-none", nil, "audit list", 0},
	} {
		stdout, stderr, status := (&console{url: url, tables: c.tables}).run(t, strings.Fields(c.args)...)
		if status != c.status {
			t.Errorf("%s: exit status %d, want %d: %s", c.args, status, c.status, stderr)
		}
		golden(t, c.name, "$ pawl "+c.args+"\n"+stdout+stderr)
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("%s prints control characters of a record, or colors although it is no terminal: %q", c.args, stdout)
		}
	}
}

// TestStatusWithoutHashes checks that status says that the key of an older history lacks hashes.
func TestStatusWithoutHashes(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withBulbs)
	c := &console{url: url}
	const says = "the history's primary key has no hashes of messages"
	if out, stderr, _ := c.run(t, "status"); strings.Contains(out, says) || stderr != "" {
		t.Errorf("with hashes: %s%s", out, stderr)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `ALTER TABLE pawl.transitions DROP CONSTRAINT transitions_pkey, ADD PRIMARY KEY (entity, machine, version)`); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := c.run(t, "status"); !strings.Contains(out, says) {
		t.Errorf("without hashes: %s", out)
	}
}
