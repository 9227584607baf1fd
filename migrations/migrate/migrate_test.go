package migrate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv" //nolint:depguard // tests run against a server, migrations do not need it
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// tables returns the tables of schema pawl, except goose's.
func tables(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var names []string
	err := pool.QueryRow(t.Context(), `SELECT coalesce(array_agg(tablename::text ORDER BY tablename), '{}')
		FROM pg_tables WHERE schemaname = 'pawl' AND tablename <> 'goose_db_version'`).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// wantVersion checks that Check finds a version. 0 means that there is no schema.
func wantVersion(t *testing.T, db migrations.Querier, have int64) {
	t.Helper()
	err := migrations.Check(t.Context(), db)
	if have >= migrations.Oldest {
		if err != nil {
			t.Errorf("Check: %v", err)
		}
		return
	}
	schema, ok := errors.AsType[*migrations.SchemaError](err)
	if !ok || *schema != (migrations.SchemaError{Have: have, Want: migrations.Oldest}) {
		t.Errorf("Check: %v, want a SchemaError of version %d", err, have)
	}
}

const all = "audit caught_up dead_letters machines marks outbox outbox_0 outbox_1 outbox_2 outbox_3 outbox_4 outbox_5 outbox_6 outbox_7 outbox_events parked rearmed replaced responses tables timers transitions unsent"

// TestKeyInUse checks that the history's key stays as it is if something depends on it.
func TestKeyInUse(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	pool := connect(t, url)
	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("sql/00009_message_hash.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, down, _ := strings.Cut(string(text), "-- +goose Down\n")
	exec(t, pool, migrations.Schema("").SQL(down)+`; DELETE FROM pawl.goose_db_version WHERE version_id = 9`)
	exec(t, pool, `CREATE TABLE mine (entity text, machine text, version bigint, FOREIGN KEY (entity, machine, version) REFERENCES pawl.transitions)`)
	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, pool, migrations.Version)
	var key string
	err = pool.QueryRow(t.Context(), `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'pawl.transitions'::regclass AND contype = 'p'`).Scan(&key)
	if err != nil || key != "PRIMARY KEY (entity, machine, version)" {
		t.Errorf("the key is %s, %v", key, err)
	}
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	pool := connect(t, url)
	exec(t, pool, `CREATE TABLE goose_db_version (mine int)`) // the application's own
	wantVersion(t, pool, 0)
	for range 2 {
		for range 2 {
			if err := migrate.Up(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			wantVersion(t, pool, migrations.Version)
			if got := tables(t, pool); got != all {
				t.Errorf("tables after Up: %s", got)
			}
			exec(t, pool, `INSERT INTO pawl.transitions VALUES (1, 0, now(), 0, 1, gen_random_uuid(), 'm', gen_random_uuid(), '', '', '', '', '')`)
		}
		var n int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pawl.transitions`).Scan(&n); err != nil || n != 2 {
			t.Errorf("%d rows of history after a second Up, want 2 (%v)", n, err)
		}
		for range 2 {
			if err := migrate.Down(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			wantVersion(t, pool, 0)
			if got := tables(t, pool); got != "" {
				t.Errorf("tables after Down: %s", got)
			}
		}
	}
	exec(t, pool, `INSERT INTO goose_db_version VALUES (1)`)
}

func TestConcurrentUps(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	var wait sync.WaitGroup
	for range 4 {
		for _, name := range []migrations.Schema{"", "other"} {
			wait.Go(func() {
				if err := migrate.UpIn(t.Context(), url, name); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	pool := connect(t, url)
	wantVersion(t, pool, migrations.Version)
	if got := tables(t, pool); got != all {
		t.Errorf("tables: %s", got)
	}
}

// TestNewerSchema checks that Up and Down do not change a schema that a newer build has
// upgraded.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	pool := connect(t, url)
	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	const newer = migrations.Version + 1
	exec(t, pool, `
CREATE TABLE pawl.zones (zone text PRIMARY KEY);
INSERT INTO pawl.goose_db_version (version_id, is_applied) VALUES (`+fmt.Sprint(newer)+`, true)`)
	for range 2 {
		if err := migrate.Up(t.Context(), url); err != nil {
			t.Errorf("Up on a newer schema: %v", err)
		}
		err := migrate.Down(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), "as new as the schema") {
			t.Errorf("Down on a newer schema: %v", err)
		}
		wantVersion(t, pool, newer)
		if got := tables(t, pool); got != all+" zones" {
			t.Errorf("tables: %s", got)
		}
	}
}

// TestVersions checks that the migrations are numbered from 1 to Version, that each has
// two directions, and that Oldest is one of them.
func TestVersions(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("sql/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if want := fmt.Sprintf("sql/%05d_", i+1); !strings.HasPrefix(filepath.ToSlash(name), want) {
			t.Errorf("found %s, want %s", name, want)
		}
	}
	if len(names) != migrations.Version {
		t.Errorf("there are %d migrations, but Version is %d", len(names), migrations.Version)
	}
	if migrations.Oldest < 1 || migrations.Oldest > migrations.Version {
		t.Errorf("Oldest is %d, want 1 to %d", migrations.Oldest, migrations.Version)
	}
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"://", "postgres://127.0.0.1:1/nosuch?connect_timeout=1"} {
		if err := migrate.Up(t.Context(), url); err == nil {
			t.Errorf("Up(%q) succeeds", url)
		}
	}
}

// TestSchemas checks that schemas with several names, including odd ones, are independent
// in one database.
func TestSchemas(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	pool := connect(t, url)
	names := []migrations.Schema{"", "tenant", "Tenant", `a "b" pawl.c; -- 'd' %s`, migrations.Schema(strings.Repeat("é", 31))}
	count := func() (n int) {
		t.Helper()
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE tablename IN ('transitions', 'goose_db_version')`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, name := range names {
		missing, ok := errors.AsType[*migrations.SchemaError](name.Check(t.Context(), pool))
		if !ok || missing.Schema != name || !strings.Contains(missing.Error(), name.String()) {
			t.Errorf("%q before Up: %v", name, missing)
		}
		for range 2 {
			if err := migrate.UpIn(t.Context(), url, name); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
		if err := name.Check(t.Context(), pool); err != nil || count() != 2*(i+1) {
			t.Errorf("%q: %d tables, %v", name, count(), err)
		}
	}
	for i, name := range names {
		if err := migrate.DownIn(t.Context(), url, name); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(name.Check(t.Context(), pool), migrations.ErrSchema) || count() != 2*len(names)-i-1 {
			t.Errorf("%q: %d tables after Down", name, count())
		}
	}
	for _, name := range []migrations.Schema{"pg_x", "information_schema", "a\nb", "a\xff", migrations.Schema(strings.Repeat("é", 32))} {
		if err := errors.Join(migrate.UpIn(t.Context(), url, name), migrate.DownIn(t.Context(), url, name)); err == nil || errors.Is(name.Check(t.Context(), pool), migrations.ErrSchema) {
			t.Errorf("%q is accepted as a name: %v", name, err)
		}
	}
}

// TestUpThroughPgBouncer checks that concurrent migrations through a pooler in transaction
// mode run one after another, and leave no lock in the pooler's sessions.
func TestUpThroughPgBouncer(t *testing.T) {
	t.Parallel()
	direct := testenv.Postgres(t)
	url := testenv.PgBouncer(t, direct)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if err := migrate.Up(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	pool := connect(t, direct)
	wantVersion(t, pool, migrations.Version)
	var locks int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
		WHERE locktype = 'advisory' AND datname = current_database()`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d advisory locks are left (%v)", locks, err)
	}
}
