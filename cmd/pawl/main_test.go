package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

// execute runs a command line, and returns its output with the error.
func execute(ctx context.Context, args ...string) (out string, status int) {
	root := rootCommand()
	var b bytes.Buffer
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(&b, "pawl:", err)
	}
	return b.String(), exitStatus(err)
}

// TestMigrate creates, checks and drops a schema.
func TestMigrate(t *testing.T) {
	t.Setenv("DATABASE_URL", testenv.Postgres(t))
	newest := fmt.Sprint(migrations.Version)
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"migrate status", 1, "there is no schema pawl\npawl: this build does not work with the schema; run: pawl migrate up\n"},
		{"migrate status --output json", 1, `"works": false`},
		{"status", 2, "pawl migrate up"},
		{"migrate up", 0, "schema pawl is at version " + newest + "\n"},
		{"migrate up --schema acme", 0, "schema acme is at version " + newest + "\n"},
		{"migrate status", 0, "schema pawl is at version " + newest + "; this build works with "},
		{"migrate status --output json --schema acme", 0, `"works": true`},
		{"migrate status --output xml", 2, "table or json"},
		{"status --schema acme", 0, "none; workers register theirs when they start"},
		{"migrate down", 2, "--yes"},
		{"migrate down --yes", 0, "the tables of schema pawl are dropped\n"},
		{"migrate status", 1, "there is no schema pawl"},
		{"migrate sideways", 2, "unknown command"},
		{"migrate up --schema pg_x", 2, "reserved"},
		{"sttaus", 2, "status"},
		{"status --nosuch", 2, "unknown flag"},
		{"entity 1 --schema acme", 1, `there is no entity "1"`},
	} {
		if out, status := execute(t.Context(), strings.Fields(c.args)...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("pawl %s: status %d, want %d with %q:\n%s", c.args, status, c.status, c.want, out)
		}
	}
}

// TestOlderSchema checks that status says how to upgrade.
func TestOlderSchema(t *testing.T) {
	url := testenv.Postgres(t)
	t.Setenv("DATABASE_URL", url)
	execute(t.Context(), "migrate", "up")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `DELETE FROM pawl.goose_db_version WHERE version_id > $1`, migrations.Oldest); err != nil {
		t.Fatal(err)
	}
	if out, status := execute(t.Context(), "migrate", "status"); migrations.Oldest < migrations.Version && (status != 0 || !strings.HasSuffix(out, "upgrade it with: pawl migrate up\n")) {
		t.Errorf("status %d: %s", status, out)
	}
	if _, err := conn.Exec(t.Context(), `DELETE FROM pawl.goose_db_version WHERE version_id = $1`, migrations.Oldest); err != nil {
		t.Fatal(err)
	}
	if out, status := execute(t.Context(), "migrate", "status"); status != 1 {
		t.Errorf("status %d: %s", status, out)
	}
}

// TestHelpKeepsSecrets checks that help does not print the connection string.
func TestHelpKeepsSecrets(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/db")
	for _, args := range [][]string{{"--help"}, {"status", "--help"}, {"migrate", "up", "--help"}, {"migrate", "up"}, {"status"}} {
		if out, _ := execute(t.Context(), args...); strings.Contains(out, "secret") || out == "" {
			t.Errorf("pawl %v prints the password, or nothing:\n%s", args, out)
		}
	}
}
