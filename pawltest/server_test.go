package pawltest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/pawltest"
)

// childVariable makes the test binary a process that makes a database and ends without tidying up.
const childVariable = "PAWLTEST_CHILD"

// TestOrphansAreSwept checks that a process on a named server drops the databases of a process that
// has ended, and leaves those of a living one alone.
func TestOrphansAreSwept(t *testing.T) {
	t.Parallel()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	config := conn.Config().Copy()
	config.RuntimeParams["application_name"] = "pawltest_livinglivi"
	living, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = living.Close(t.Context()) }()
	for _, name := range []string{"pawltest_livinglivi_1_x", "pawltest_deaddeadde_1_x", "pawltest_of_somebody"} {
		if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childVariable+"=1", "DATABASE_URL="+server.URL())
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		awaitOnly(t, conn, "pawltest_livinglivi")
	}
	rows, err := conn.Query(t.Context(), "SELECT datname FROM pg_database WHERE datname LIKE 'pawltest_%' ORDER BY datname")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, name := range names {
		if !strings.HasPrefix(name, "pawltest_livinglivi_") && name != "pawltest_of_somebody" {
			left = append(left, name)
		}
	}
	if len(names) != 4 || len(left) != 2 || left[0][:19] != left[1][:19] {
		t.Errorf("the databases are %q; want those of the living process and of the last one that has ended", names)
	}
}

// awaitOnly waits until no process but the named one is connected: PostgreSQL learns a moment
// later that a process has ended.
func awaitOnly(t *testing.T, conn *pgx.Conn, living string) {
	t.Helper()
	const others = `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pawltest\_%' AND application_name <> $1`
	testenv.Eventually(t, time.Minute, func() error {
		var n int
		err := conn.QueryRow(t.Context(), others, living).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d connections of processes that have ended are still there", n)
		}
		return err
	})
}

// TestDatabasesAreSeparate checks that each test has what the template has, and no more, and that
// its database is gone when it ends.
func TestDatabasesAreSeparate(t *testing.T) {
	var url string
	for range 2 {
		t.Run("a test", func(t *testing.T) {
			pool := pawltest.Postgres(t, database)
			if _, err := pool.Exec(t.Context(), `INSERT INTO tickets (id, state, version) VALUES (1, 'open', 1)`); err != nil {
				t.Error(err)
			}
			url = pool.Config().ConnString()
		})
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err == nil {
		err = conn.Close(t.Context())
		t.Errorf("the database of a test is still there (%v)", err)
	}
}

// TestTemplateFails checks what a test says if its database can't be set up.
func TestTemplateFails(t *testing.T) {
	t.Parallel()
	broken := &pawltest.Database{DDL: "CREATE TABEL x ()"}
	for range 2 {
		if got := failuresOf(t, func(tb pawltest.TB) { pawltest.Postgres(tb, broken) }); len(got) != 1 || !strings.Contains(got[0], "Database.DDL: ERROR: syntax error") {
			t.Errorf("failures %q", got)
		}
	}
}
