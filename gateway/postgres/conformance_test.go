package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gatewaytest.Test(t, func(t *testing.T) gatewaytest.Subject {
				return subject(t, testenv.Pool(t, migrated), kind)
			})
		})
	}
}

// isolated makes an isolation level the default of a pool's sessions.
func isolated(level pgx.TxIsoLevel) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["default_transaction_isolation"] = string(level) }
}

func TestConformanceOfLevels(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		for name, kind := range kinds {
			t.Run(string(level)+" "+name, func(t *testing.T) {
				t.Parallel()
				gatewaytest.Test(t, func(t *testing.T) gatewaytest.Subject {
					return subject(t, testenv.Pool(t, migrated), kind, isolated(level))
				})
			})
		}
	}
}

// TestLevels runs requests with different keys at the same time, which replace expired responses
// while a sweep deletes these. Their handlers have nothing to do with each other, so all responses
// can be stored at each isolation level.
func TestLevels(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		direct := testenv.Pool(t, migrated)
		b := open(t, poolOf(t, direct, isolated(level)), postgres.Config{MaxRunning: 5})
		for range 3 {
			runs := make([]gateway.Run, 5)
			for i := range runs {
				var err error
				if runs[i], _, err = b.Begin(t.Context(), gateway.Key{Value: fmt.Sprint(i)}); err != nil {
					t.Fatalf("%s: %v", level, err)
				}
			}
			if _, err := b.Sweep(t.Context()); err != nil {
				t.Errorf("%s: %v", level, err)
			}
			for _, run := range runs {
				if err := run.Finish(t.Context(), gateway.Result{Response: []byte("x")}); err != nil {
					t.Errorf("%s: %v", level, err)
				}
			}
			expire(t, direct)
		}
	}
}

// TestSweepsOfLevels sweeps with several processes at the same time.
func TestSweepsOfLevels(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		direct := testenv.Pool(t, migrated)
		mustExec(t, direct, `
INSERT INTO pawl.responses (id, response, expires_at)
SELECT sha256(i::text::bytea), 'x', now() - make_interval(secs => i) FROM generate_series(1, 20000) AS i`)
		var wait sync.WaitGroup
		for range 4 {
			b := open(t, poolOf(t, direct, isolated(level)), postgres.Config{})
			wait.Go(func() {
				if _, err := b.Sweep(t.Context()); err != nil {
					t.Errorf("%s: %v", level, err)
				}
			})
		}
		wait.Wait()
		if n := responses(t, direct); n != 0 {
			t.Errorf("%s: %d responses are left", level, n)
		}
	}
}

// TestSnapshot stores a response while another process is about to lock the key, after that
// has begun its transaction: it must find the response at each isolation level.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for _, level := range []pgx.TxIsoLevel{"", pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		direct := testenv.Pool(t, migrated)
		// The first statement of the transaction waits, after it has got its snapshot.
		mustExec(t, direct, `
CREATE SCHEMA slow;
CREATE FUNCTION slow.set_config(name text, value text, local boolean) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN pg_catalog.set_config(name, value, local); END $$`)
		slow := open(t, poolOf(t, direct, func(c *pgxpool.Config) {
			c.ConnConfig.RuntimeParams["search_path"] = "slow, pg_catalog, public"
		}), postgres.Config{TxOptions: pgx.TxOptions{IsoLevel: level}, QueueTimeout: time.Minute})
		gate, err := direct.Begin(t.Context())
		if err == nil {
			_, err = gate.Exec(t.Context(), `SELECT pg_advisory_xact_lock(42)`)
		}
		if err != nil {
			t.Fatal(err)
		}
		key := gateway.Key{Value: "k"}
		ended := make(chan error, 1)
		go func() {
			run, stored, err := slow.Begin(t.Context(), key)
			if run != nil {
				err = errors.Join(errors.New("the request runs again"), run.Release(t.Context()))
			} else if err == nil && string(stored) != "first" {
				err = fmt.Errorf("stored %q", stored)
			}
			ended <- err
		}()
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := count(t, direct, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); n == 0 {
				return errors.New("nobody waits")
			}
			return nil
		})
		run, _, err := open(t, poolOf(t, direct), postgres.Config{}).Begin(t.Context(), key)
		if err == nil {
			err = run.Finish(t.Context(), gateway.Result{Response: []byte("first")})
		}
		if err = errors.Join(err, gate.Rollback(t.Context()), <-ended); err != nil {
			t.Errorf("%s: %v", level, err)
		}
	}
}

// TestSlowLook lets the look for a response that a snapshot needs find no connection in time: the
// client is told to come back, as if the first look had found none.
func TestSlowLook(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	var begun atomic.Bool
	pool := poolOf(t, direct, isolated(pgx.RepeatableRead), func(c *pgxpool.Config) {
		c.PrepareConn = func(ctx context.Context, _ *pgx.Conn) (bool, error) {
			if begun.Load() {
				<-ctx.Done()
			}
			return true, ctx.Err()
		}
		c.ConnConfig.Tracer = onBegin(sync.OnceFunc(func() { begun.Store(true) }))
	})
	b := open(t, pool, postgres.Config{QueueTimeout: 200 * time.Millisecond, RetryAfter: 7 * time.Second})
	_, _, err := b.Begin(t.Context(), gateway.Key{Value: "k"})
	if e, ok := errors.AsType[*gateway.UnavailableError](err); !ok || e.RetryAfter != 7*time.Second {
		t.Errorf("Begin: %v, want an UnavailableError", err)
	}
	begun.Store(false)
	run, _, err := b.Begin(t.Context(), gateway.Key{Value: "k"})
	if err == nil {
		err = run.Release(t.Context())
	}
	if err != nil {
		t.Errorf("the request after that: %v", err)
	}
}

// onBegin is called when a transaction begins.
type onBegin func()

func (f onBegin) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, "begin") {
		f()
	}
	return ctx
}

func (onBegin) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// bouncing makes a pool connect through a PgBouncer in transaction mode.
func bouncing(t *testing.T, direct *pgxpool.Pool, mode pgx.QueryExecMode) func(*pgxpool.Config) {
	t.Helper()
	through, err := pgxpool.ParseConfig(testenv.PgBouncer(t, direct.Config().ConnString()))
	if err != nil {
		t.Fatal(err)
	}
	return func(c *pgxpool.Config) {
		name := c.ConnConfig.RuntimeParams["application_name"]
		c.ConnConfig = through.ConnConfig.Copy()
		c.ConnConfig.DefaultQueryExecMode = mode
		c.ConnConfig.RuntimeParams = map[string]string{"application_name": name} // which PgBouncer passes on
	}
}

func TestConformanceThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gatewaytest.Test(t, func(t *testing.T) gatewaytest.Subject {
				direct := testenv.Pool(t, migrated)
				return subject(t, direct, kind, bouncing(t, direct, pgx.QueryExecModeCacheDescribe))
			})
		})
	}
}

// TestModesThroughPgBouncer tries each way to send statements that works behind a pooler in
// transaction mode.
func TestModesThroughPgBouncer(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		pool := poolOf(t, direct, bouncing(t, direct, mode))
		b := open(t, pool, postgres.Config{IdleTimeout: time.Minute})
		for name, kind := range kinds {
			backend := kind(b)
			for i := range 3 {
				k := gateway.Key{Tenant: mode.String(), Route: name, Value: fmt.Sprint(i)}
				for _, end := range []func(gateway.Run) error{
					func(run gateway.Run) error { return run.Release(t.Context()) },
					func(run gateway.Run) error {
						return run.Finish(t.Context(), gateway.Result{Response: []byte("a\x00b"), Undo: true})
					},
				} {
					run, _, err := backend.Begin(t.Context(), k)
					if err == nil {
						err = end(run)
					}
					if err != nil {
						t.Fatalf("%v: %v", mode, err)
					}
				}
				if _, stored, err := backend.Begin(t.Context(), k); string(stored) != "a\x00b" || err != nil {
					t.Errorf("%v: stored %q, %v", mode, stored, err)
				}
			}
		}
		expire(t, direct)
		if n, err := b.Sweep(t.Context()); n != 6 || err != nil {
			t.Errorf("%v: Sweep = %d, %v, want the 6 that have expired", mode, n, err)
		}
	}
}
