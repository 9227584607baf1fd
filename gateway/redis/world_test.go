package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/gateway/redis"
	"github.com/pawl-go/pawl/gateway/redis/internal/redisserver"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// migrated is a database with the framework's schema and a table for what handlers do.
var migrated = testenv.Template("gateway-redis", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `CREATE TABLE effects (key text NOT NULL, at timestamptz NOT NULL DEFAULT now())`)
	return err
})

// A world has a Redis and a PostgreSQL.
type world struct {
	server *redisserver.Server
	client rueidis.Client // for the test itself
	pool   *pgxpool.Pool
}

func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	server := startRedis(t, args...)
	return &world{server: server, client: connect(t, server), pool: testenv.Pool(t, migrated)}
}

// open opens a hybrid as a new process does, with connections of its own.
func (w *world) open(t *testing.T, change ...func(*redis.Config)) (*redis.Hybrid, *counting) {
	t.Helper()
	return w.openOn(t, connect(t, w.server), change...)
}

func (w *world) openOn(t *testing.T, client rueidis.Client, change ...func(*redis.Config)) (*redis.Hybrid, *counting) {
	t.Helper()
	cfg := redis.Config{Client: client, Lease: 600 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	fast, err := redis.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	config := w.pool.Config().Copy()
	config.MaxConns = 7
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
	decider, err := postgres.Open(t.Context(), pool, postgres.Config{QueueTimeout: time.Minute, MaxRunning: 5})
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{Backend: decider}
	h, err := redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: counted, Cooldown: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return h, counted
}

// counting counts how often the decider is asked.
type counting struct {
	gateway.Backend

	begins atomic.Int64
}

func (c *counting) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	c.begins.Add(1)
	return c.Backend.Begin(ctx, key)
}

// effect does what a handler does: it writes in the transaction of its run.
func effect(ctx context.Context, run gateway.Run, value string) error {
	_, err := postgres.Tx(run.Context(ctx)).Exec(ctx, `INSERT INTO effects (key) VALUES ($1)`, value)
	return err
}

var responses atomic.Int64

// request sends a request until it has a response, as a client does that retries.
func request(ctx context.Context, b gateway.Backend, value string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := attempt(ctx, b, value)
		if err == nil {
			return answer, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("key %s is stuck: %w", value, err)
		}
	}
}

func attempt(ctx context.Context, b gateway.Backend, value string) (string, error) {
	run, stored, err := b.Begin(ctx, key(value))
	if err != nil || run == nil {
		return string(stored), err
	}
	if err := effect(ctx, run, value); err != nil {
		return "", errors.Join(err, run.Release(ctx))
	}
	answer := fmt.Sprintf("response %d for %s", responses.Add(1), value) // another for each run
	return answer, run.Finish(ctx, gateway.Result{Response: []byte(answer)})
}

// mustBeOnce checks that each key has taken effect once.
func (w *world) mustBeOnce(t *testing.T, keys int) {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT key, count(*) FROM effects GROUP BY key`)
	if err != nil {
		t.Fatal(err)
	}
	var (
		value string
		count int
		found int
	)
	_, err = pgx.ForEachRow(rows, []any{&value, &count}, func() error {
		found++
		if count != 1 {
			t.Errorf("key %s took effect %d times", value, count)
		}
		return nil
	})
	if err != nil || found != keys {
		t.Errorf("%d keys took effect, %v; want %d", found, err, keys)
	}
}

// storm sends requests with the keys from several clients to the backends, and checks that
// all clients of a key get the same.
func storm(t *testing.T, keys []string, backends ...gateway.Backend) {
	t.Helper()
	const clients = 3
	var wait sync.WaitGroup
	all := make([][]string, len(keys))
	for k, value := range keys {
		answers := make([]string, clients)
		all[k] = answers
		for i := range clients {
			wait.Go(func() {
				var err error
				if answers[i], err = request(t.Context(), backends[i%len(backends)], value); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	for k, answers := range all {
		for _, answer := range answers {
			if answer != answers[0] {
				t.Errorf("clients of key %s got %q and %q", keys[k], answers[0], answer)
			}
		}
	}
}
