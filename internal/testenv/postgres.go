package testenv

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testdb"
)

// Postgres returns the connection string of a clean database for this test, and
// drops the database when the test ends. It is empty, or a copy of a
// [Template].
func Postgres(tb testing.TB, opts ...Option) string {
	tb.Helper()
	url, drop, err := newDatabase(tb.Name(), opts)
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	tb.Cleanup(func() {
		if err := drop(); err != nil {
			tb.Errorf("testenv: %v", err)
		}
	})
	return url
}

// ExamplePostgres is Postgres for an Example, which has no testing.TB. Call drop
// at its end. If something fails, both panic.
func ExamplePostgres(opts ...Option) (url string, drop func()) {
	url, dropIt, err := newDatabase("example", opts)
	if err != nil {
		panic(fmt.Sprintf("testenv: %v", err))
	}
	return url, func() {
		if err := dropIt(); err != nil {
			panic(fmt.Sprintf("testenv: %v", err))
		}
	}
}

// newDatabase creates a database and returns its connection string.
func newDatabase(hint string, opts []Option) (url string, drop func() error, err error) {
	server, err := shared.postgres()
	if err != nil {
		return "", nil, fmt.Errorf("get a PostgreSQL database: %w", err)
	}
	name := testdb.UniqueName(hint)
	if err := fill(server.address, name, opts); err != nil {
		return "", nil, err
	}
	return testdb.URL(server.address, name), func() error { return testdb.Drop(server.address, name) }, nil
}

// fill creates the database according to the options.
func fill(server, name string, opts []Option) error {
	var cfg databaseConfig
	for _, o := range opts {
		o(&cfg)
	}
	from := testdb.Pristine
	if cfg.template != nil {
		var err error
		if from, err = cfg.template.database(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	return testdb.Create(ctx, server, name, from)
}

// Pool returns a pool on a database like the one [Postgres] returns. It is
// closed when the test ends; if the test still holds a connection then, the
// test fails.
func Pool(tb testing.TB, opts ...Option) *pgxpool.Pool {
	tb.Helper()
	url := Postgres(tb, opts...)
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		tb.Fatalf("testenv: open a pool: %v", err)
	}
	tb.Cleanup(func() { closePool(tb, pool, testdb.PoolCloseTimeout) })
	return pool
}

// closePool closes the pool, which waits for connections in use.
func closePool(tb testing.TB, pool *pgxpool.Pool, within time.Duration) {
	tb.Helper()
	if err := testdb.ClosePool(pool, within); err != nil {
		tb.Errorf("testenv: %v", err)
	}
}
