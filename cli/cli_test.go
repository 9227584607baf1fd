package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pawl-go/pawl/check"
	"github.com/pawl-go/pawl/cli"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

// withLamps is a database with schema pawl and lamps in a state that the second version retires.
var withLamps = testenv.Template("lamps", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE lamps (id text COLLATE "C" PRIMARY KEY, state text NOT NULL CHECK (id <> '13' OR state = 'on'), version bigint NOT NULL);
INSERT INTO lamps SELECT n, 'on', 1 FROM generate_series(1, 20) AS n`)
	return errors.Join(err, conn.Close(ctx))
})

func lamps(version int, on statemachine.State) []postgres.Table {
	d := statemachine.Definition{
		Name: "lamp", Version: version,
		Transitions: []statemachine.Transition{
			{Event: "lit", To: on},
			{Event: "broken", From: statemachine.In(on), To: "dead"},
		},
		Terminal: statemachine.In("dead"),
	}
	if on != "on" {
		d.Migrations = []statemachine.Migration{{From: statemachine.In("on"), To: on}}
	}
	return []postgres.Table{{Machine: statemachine.MustCompile(d), Name: "lamps"}}
}

// execute runs a command line.
func execute(ctx context.Context, tables []postgres.Table, args ...string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "lampd", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(cli.Commands(cli.Config{Tables: tables})...)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

func TestCheck(t *testing.T) {
	url := testenv.Postgres(t, withLamps)
	file := filepath.Join(t.TempDir(), "machines.json")
	t.Setenv("DATABASE_URL", "")
	for _, c := range []struct {
		tables []postgres.Table
		args   string
		status int
		want   string
	}{
		{lamps(1, "on"), "--database-url " + url, 0, "lamp: version 1 is the first\nsafe\n"},
		{lamps(1, "lit"), "--strict --history 5 --database-url " + url, 0, "lamp: version 1 is the first\n  migration  20 in state \"on\" will be migrated, such as 1, 2, 3\n  history "},
		{lamps(1, "on"), "--write " + file, 0, file + " has the definitions of 1 machines\n"},
		{lamps(1, "on"), "--strict --file " + file, 0, "lamp: version 1 is in use\nsafe\n"},
		{lamps(2, "lit"), "--file " + file, 0, "lamp: from version 1 to 2\n  changed "},
		{lamps(2, "lit"), "--strict --file " + file, 1, "lamp: from version 1 to 2\n  changed "},
		{lamps(1, "lit"), "--file " + file, 1, "lamp: from version 1 to 1\n  refused "},
		{lamps(2, "lit"), "", 2, ""},
		{lamps(2, "lit"), "--history 3 --file " + file, 2, ""},
		{lamps(2, "lit"), "--file nosuch.json", 2, ""},
		{lamps(2, "lit"), "--output xml --file " + file, 2, ""},
		{lamps(2, "lit"), "--outptu json --file " + file, 2, ""},
		{lamps(2, "lit"), file, 2, ""},
	} {
		stdout, stderr, err := execute(t.Context(), c.tables, append([]string{"check"}, strings.Fields(c.args)...)...)
		if cli.ExitStatus(err) != c.status || !strings.HasPrefix(stdout, c.want) || stderr != "" {
			t.Errorf("check %s: status %d, %v\n%s%s", c.args, cli.ExitStatus(err), err, stdout, stderr)
		}
	}
	t.Setenv("DATABASE_URL", url)
	stdout, _, err := execute(t.Context(), lamps(2, "lit"), "check", "--output", "json", "--file", file)
	var report check.Report
	if err := errors.Join(err, json.Unmarshal([]byte(stdout), &report)); err != nil || !report.Safe || len(report.Machines[0].Rows) != 1 {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestMigrateEntities(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withLamps)
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--dry-run", 0, "20 entities would be migrated, 0 can't be\n"},
		{"fan", 2, ""},
		{"lamp --batch 4 --per-second 100000", 1, "19 entities were migrated, 1 can't be\n  lamp/13: constraint "},
		{"", 1, "0 entities were migrated, 1 can't be\n"},
	} {
		stdout, stderr, err := execute(t.Context(), lamps(2, "lit"), append([]string{"migrate-entities", "--database-url", url}, strings.Fields(c.args)...)...)
		if cli.ExitStatus(err) != c.status || !strings.HasPrefix(stdout, c.want) || stderr != "" {
			t.Errorf("migrate-entities %s: status %d, %v\n%s%s", c.args, cli.ExitStatus(err), err, stdout, stderr)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := execute(ctx, lamps(2, "lit"), "migrate-entities", "--database-url", url); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
}

func TestWithdraw(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, withLamps)
	if _, _, err := execute(t.Context(), lamps(2, "lit"), "migrate-entities", "--dry-run", "--database-url", url); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"lamp 2", "version 2 of machine \"lamp\" is withdrawn\n"},
		{"lamp 3", "not registered"},
		{"lamp 1", "this build has that version"},
		{"lamp two", "not the number of a version"},
		{"lamp", "accepts 2 arg(s)"},
	} {
		stdout, _, err := execute(t.Context(), lamps(1, "on"), append([]string{"withdraw", "--database-url", url}, strings.Fields(c.args)...)...)
		if err == nil && stdout != c.want || err != nil && (!strings.Contains(err.Error(), c.want) || cli.ExitStatus(err) != 2) {
			t.Errorf("withdraw %s: %v\n%s", c.args, err, stdout)
		}
	}
}

// TestMessages checks what a newcomer reads, and that nobody reads the password.
func TestMessages(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	const nobody = "127.0.0.1:1" // refuses connections
	for _, c := range []struct{ args, want string }{
		{"check", "set --database-url or DATABASE_URL"},
		{"migrate-entities", "set --database-url or DATABASE_URL"},
		{"check --database-url=postgres://u:secret@" + nobody + "/db", "check that it runs"},
		{"check --database-url=postgres://u:secret@:x/db", "not a connection string"},
		{"check --output=xml", "use text or json"},
		{"migrate-entities fan", `no machine "fan"`},
	} {
		_, _, err := execute(t.Context(), lamps(1, "on"), strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	t.Setenv("DATABASE_URL", "postgres://u:secret@"+nobody+"/db")
	for _, command := range []string{"check", "migrate-entities"} {
		if stdout, _, err := execute(t.Context(), lamps(1, "on"), command, "--help"); err != nil || strings.Contains(stdout, "secret") || !strings.Contains(stdout, "exit status") {
			t.Errorf("%v: %s", err, stdout)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := execute(t.Context(), lamps(1, "on"), "check", "--file", bad); err == nil || !strings.Contains(err.Error(), "bad.json: read definitions: this is not a file that check.Write has written") {
		t.Errorf("a bad file: %v", err)
	}
}
