package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// migrated is a database with schema pawl and a table for what handlers do.
var migrated = testenv.Template("gateway", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `CREATE TABLE effects (n bigint GENERATED ALWAYS AS IDENTITY, what text NOT NULL)`)
	return err
})

var processes atomic.Int64

// poolOf returns a new pool for the database of another, with a name of its own.
func poolOf(t *testing.T, direct *pgxpool.Pool, set ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config := direct.Config().Copy()
	config.MaxConns = 6
	config.ConnConfig.RuntimeParams["application_name"] = fmt.Sprint("process ", processes.Add(1))
	for _, s := range set {
		s(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			go pool.Close() // a run that was not ended still has a connection
			return
		}
		pool.Close()
	})
	return pool
}

func open(t *testing.T, pool *pgxpool.Pool, cfg postgres.Config) *postgres.Backend {
	t.Helper()
	b, err := postgres.Open(t.Context(), pool, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// count returns the number that a query returns.
func count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// kill ends all sessions of a pool, as the end of its process does.
func kill(t *testing.T, direct, pool *pgxpool.Pool) {
	t.Helper()
	name := pool.Config().ConnConfig.RuntimeParams["application_name"]
	mustExec(t, direct, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, name)
}

// expire makes all stored responses expire. Those that have expired stay as they are: a run that
// replaces one could not be serialized with another change of its row.
func expire(t *testing.T, direct *pgxpool.Pool) {
	t.Helper()
	mustExec(t, direct, `UPDATE pawl.responses SET expires_at = clock_timestamp() WHERE expires_at > clock_timestamp()`)
}

// A process is a backend with its pool.
type process struct {
	gateway.Backend

	pool *pgxpool.Pool
}

// subject returns a Subject on one database. kind makes the backend from what Open returned.
func subject(t *testing.T, direct *pgxpool.Pool, kind func(*postgres.Backend) gateway.Backend, set ...func(*pgxpool.Config)) gatewaytest.Subject {
	t.Helper()
	return gatewaytest.Subject{
		Open: func(t *testing.T) gateway.Backend {
			pool := poolOf(t, direct, set...)
			return process{kind(open(t, pool, postgres.Config{QueueTimeout: time.Minute, MaxRunning: 5})), pool}
		},
		Expire: func(t *testing.T) { expire(t, direct) },
		Kill:   func(t *testing.T, b gateway.Backend) { kill(t, direct, b.(process).pool) },
	}
}

// kinds are the kinds of backends on one table.
var kinds = map[string]func(*postgres.Backend) gateway.Backend{
	"transactions":         func(b *postgres.Backend) gateway.Backend { return b },
	"without transactions": func(b *postgres.Backend) gateway.Backend { return b.WithoutTransaction() },
}
