package testenv

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// poolCloseTimeout is how long a pool may wait at the end of a test for the
// connections that the test has not given back.
const poolCloseTimeout = 10 * time.Second

// Postgres returns the connection string of a clean database that is the
// test's own, and is dropped when the test ends. It is empty, or a copy of a
// [Template].
func Postgres(tb testing.TB, opts ...Option) string {
	tb.Helper()
	server, err := shared.postgres()
	if err != nil {
		tb.Fatalf("testenv: no PostgreSQL for this test: %v", err)
	}
	name := uniqueName(tb.Name())
	if err := fill(server.address, name, opts); err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	tb.Cleanup(func() {
		if err := dropDatabase(server.address, name); err != nil {
			tb.Errorf("testenv: %v", err)
		}
	})
	return databaseURL(server.address, name)
}

// fill creates the database that the options ask for.
func fill(server, name string, opts []Option) error {
	var cfg databaseConfig
	for _, o := range opts {
		o(&cfg)
	}
	from := pristine
	if cfg.template != nil {
		var err error
		if from, err = cfg.template.database(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	return createDatabase(ctx, server, name, from)
}

// Pool returns a pool on a database such as [Postgres] makes. It is closed
// when the test ends; a connection that the test still holds then fails it.
func Pool(tb testing.TB, opts ...Option) *pgxpool.Pool {
	tb.Helper()
	url := Postgres(tb, opts...)
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		tb.Fatalf("testenv: open a pool: %v", err)
	}
	tb.Cleanup(func() { closePool(tb, pool, poolCloseTimeout) })
	return pool
}

// closePool closes the pool, which waits for connections that are in use.
func closePool(tb testing.TB, pool *pgxpool.Pool, within time.Duration) {
	tb.Helper()
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(within):
		tb.Errorf("testenv: %d connections of the pool were not given back within %v of the test's end",
			pool.Stat().AcquiredConns(), within)
	}
}
