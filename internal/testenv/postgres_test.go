package testenv

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/internal/testdb"
)

var (
	prepared atomic.Int32

	numbers = Template("numbers", func(ctx context.Context, url string) error {
		prepared.Add(1)
		return testdb.WithConn(ctx, url, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (0)")
			return err
		})
	})
)

func TestTemplateDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := Pool(t, numbers)
			if _, err := pool.Exec(t.Context(), "INSERT INTO numbers VALUES (1)"); err != nil {
				t.Fatal(err) // would conflict with the other database's row
			}
			var n int
			if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM numbers").Scan(&n); err != nil || n != 2 {
				t.Errorf("%d rows, %v, want 2", n, err)
			}
			if got := prepared.Load(); got != 1 {
				t.Errorf("the template was prepared %d times, want 1", got)
			}
		})
	}
}

func TestDatabaseWithoutTemplateIsEmpty(t *testing.T) {
	t.Parallel()
	var n int
	err := Pool(t).QueryRow(t.Context(),
		"SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')").Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("%d tables, %v, want none", n, err)
	}
}

func TestExamplePostgres(t *testing.T) {
	t.Parallel()
	url, drop := ExamplePostgres(numbers)
	var n int
	err := testdb.WithConn(t.Context(), url, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM numbers").Scan(&n)
	})
	if err != nil || n != 1 {
		t.Errorf("%d rows, %v, want 1", n, err)
	}
	drop()
	if err := testdb.WithConn(t.Context(), url, func(*pgx.Conn) error { return nil }); err == nil {
		t.Error("the database still exists")
	}
}

func TestDatabaseIsDroppedInUse(t *testing.T) {
	var conn *pgx.Conn
	t.Run("user", func(t *testing.T) {
		var err error
		if conn, err = pgx.Connect(t.Context(), Postgres(t)); err != nil {
			t.Fatal(err)
		}
	})
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the database still exists after its test")
	}
	_ = conn.Close(t.Context()) // it is broken
}

func TestTemplatePrepareFails(t *testing.T) {
	t.Parallel()
	failing := &databaseConfig{}
	Template("failing", func(context.Context, string) error { return errBroken })(failing)
	for range 2 {
		if _, err := failing.template.database(); !errors.Is(err, errBroken) {
			t.Errorf("%v, want the error of prepare", err)
		}
	}
}

func TestPoolNotReleased(t *testing.T) {
	t.Parallel()
	pool := Pool(t)
	held, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	r := &recorder{TB: t}
	closePool(r, pool, 10*time.Millisecond)
	if len(r.failures) != 1 {
		t.Errorf("failures %q, want one", r.failures)
	}
}
