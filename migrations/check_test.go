package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv" //nolint:depguard // tests run against a server, migrations do not need it
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.CheckLeaks()) }

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// wantError checks the error of Check for a schema that this build does not work with.
func wantError(t *testing.T, db migrations.Querier, have int64, says ...string) {
	t.Helper()
	err := migrations.Check(t.Context(), db)
	schema, ok := errors.AsType[*migrations.SchemaError](err)
	if !ok || *schema != (migrations.SchemaError{Have: have, Want: migrations.Oldest}) || !errors.Is(err, migrations.ErrSchema) {
		t.Errorf("Check: %v, want a SchemaError of version %d", err, have)
	}
	for _, say := range says {
		if !strings.Contains(fmt.Sprint(err), say) {
			t.Errorf("Check: %v, want an error that says %q", err, say)
		}
	}
}

// TestCheck checks which versions Check accepts.
func TestCheck(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, testenv.Template("check", migrate.Up))
	ran := func(version int64, applied bool) {
		t.Helper()
		exec(t, pool, `INSERT INTO pawl.goose_db_version (version_id, is_applied) VALUES ($1, $2)`, version, applied)
	}
	exec(t, pool, `DELETE FROM pawl.goose_db_version`)
	wantError(t, pool, 0, "there is no schema pawl", "pawl migrate up")
	for version := int64(1); version < migrations.Oldest; version++ {
		ran(version, true)
		wantError(t, pool, version, fmt.Sprintf("is at version %d", version),
			fmt.Sprintf("needs version %d or newer", migrations.Oldest), "pawl migrate up")
	}
	for version := int64(migrations.Oldest); version <= migrations.Version+10; version++ {
		ran(version, true)
		if err := migrations.Check(t.Context(), pool); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	// A version that was rolled back does not count.
	for version := int64(migrations.Version + 10); version >= migrations.Oldest; version-- {
		ran(version, false)
	}
	wantError(t, pool, migrations.Oldest-1)
}

// TestCheckOnlyReads checks that Check leaves a transaction usable, and needs few
// privileges.
func TestCheckOnlyReads(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	wantError(t, tx, 0, "there is no schema pawl")
	if _, err := tx.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Errorf("the transaction is aborted after Check: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := migrate.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	role := pgx.Identifier{"check_" + pool.Config().ConnConfig.Database}.Sanitize()
	exec(t, pool, `CREATE ROLE `+role)
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, step := range []struct {
		sql string
		ok  bool
	}{
		{`REVOKE CREATE ON SCHEMA public FROM PUBLIC`, false},
		{`GRANT USAGE ON SCHEMA pawl TO ` + role, false},
		{`GRANT SELECT ON pawl.goose_db_version TO ` + role, true},
	} {
		exec(t, pool, step.sql)
		if _, err := conn.Exec(t.Context(), `SET ROLE `+role); err != nil {
			t.Fatal(err)
		}
		err := migrations.Check(t.Context(), conn)
		if (err == nil) != step.ok {
			t.Errorf("after %s: Check = %v", step.sql, err)
		}
		if err != nil && errors.Is(err, migrations.ErrSchema) {
			t.Errorf("after %s: missing privileges are reported as a missing schema: %v", step.sql, err)
		}
	}
}

// TestFixIsForTheShell checks that the command in an error names the schema.
func TestFixIsForTheShell(t *testing.T) {
	t.Parallel()
	err := &migrations.SchemaError{Schema: "o'dd one", Want: migrations.Version}
	if want := `--schema 'o'\''dd one'`; !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %s", err, want)
	}
	if err.Schema = ""; strings.Contains(err.Error(), "--schema") {
		t.Errorf("%v names the schema pawl", err)
	}
}
