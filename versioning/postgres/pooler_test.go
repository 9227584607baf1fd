package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// pooled returns a pool that connects to the database of another pool through a
// PgBouncer in transaction mode. It skips the test if there is no PgBouncer.
func pooled(t *testing.T, direct *pgxpool.Pool, mode pgx.QueryExecMode) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(testenv.PgBouncer(t, direct.Config().ConnString()))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DefaultQueryExecMode, config.MaxConns = mode, 8
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// poolerModes are the modes that work behind any pooler in transaction mode.
var poolerModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

func TestConformanceThroughPgBouncer(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	conform(t, direct, pooled(t, direct, pgx.QueryExecModeCacheDescribe), migrations.DefaultSchema)
}

func TestFailuresThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range poolerModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			direct, other := openOrders(t)
			fail(t, direct, pooled(t, direct, mode), mode, other)
		})
	}
}

// crowd opens stores in several goroutines, calls everything that a worker and an operator
// need from them, and returns the errors.
func crowd(t *testing.T, pool *pgxpool.Pool) error {
	t.Helper()
	problems := make([]error, 8)
	var wait sync.WaitGroup
	for worker := range problems {
		wait.Go(func() {
			store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "orders"})
			for i := 0; i < 10 && err == nil; i++ {
				err = use(t, store, worker*1000+i)
			}
			problems[worker] = err
		})
	}
	wait.Wait()
	return errors.Join(problems...)
}

func use(t *testing.T, store *postgres.Store, n int) error {
	l := log{next: int64(n) * 10}
	k := fmt.Sprint("k", n)
	records := []*versioning.Record{l.say(k, "shipped"), l.say(k, "placed"), l.say(k, "captured"), l.say(k, "nosuch")}
	prepare(store, records)
	if _, _, err := store.Split(t.Context(), records, 2); err != nil {
		return err
	}
	result, err := store.Apply(t.Context(), "", records)
	if err != nil {
		return err
	}
	wantVerdicts(t, result, "applied", "applied", "applied", "rejected unknown_event")
	if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
		return err
	}
	if _, err := store.Parked(t.Context(), postgres.ParkedFilter{Key: k}); err != nil {
		return err
	}
	copyTo := func(context.Context, []versioning.DeadLetter) ([]int64, error) { return []int64{1 << 60}, nil }
	if _, err := store.CopyDeadLetters(t.Context(), map[string][]int32{"orders": {0}}, 2, copyTo); err != nil {
		return err
	}
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Key: k})
	if err == nil && len(letters) != 1 {
		err = fmt.Errorf("%d dead letters of %s, want 1", len(letters), k)
	}
	return err
}

func TestCrowdThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range poolerModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			direct, _ := openOrders(t)
			if err := crowd(t, pooled(t, direct, mode)); err != nil {
				t.Error(err)
			}
			wantRows(t, direct, `SELECT count(*) || state FROM orders GROUP BY state`, "80shipped")
		})
	}
}

// TestPoolerIsNamed checks that a pool whose prepared statements a pooler mixes up
// fails with a fatal error that says what to set. PgBouncer 1.21 and later tracks
// prepared statements, so there is no error.
func TestPoolerIsNamed(t *testing.T) {
	t.Parallel()
	direct, _ := openOrders(t)
	err := crowd(t, pooled(t, direct, pgx.QueryExecModeCacheStatement))
	if err == nil {
		wantRows(t, direct, `SELECT count(*) || state FROM orders GROUP BY state`, "80shipped")
		return
	}
	if !strings.Contains(err.Error(), "default_query_exec_mode=cache_describe") {
		t.Errorf("%v; want an error that says what to set", err)
	}
	fatal := false
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		fatal = fatal || versioning.CauseOf(one) == versioning.Fatal
		if !errors.Is(one, postgres.ErrPooler) {
			t.Errorf("%v, want an ErrPooler", one)
		}
	}
	if !fatal {
		t.Errorf("%v; want a fatal error", err)
	}
}

// TestStartupParameterThroughPgBouncer checks that Open's error names the parameter of
// the connection string that the pooler rejects.
func TestStartupParameterThroughPgBouncer(t *testing.T) {
	t.Parallel()
	direct, _ := openOrders(t)
	config := pooled(t, direct, pgx.QueryExecModeCacheDescribe).Config()
	config.ConnConfig.RuntimeParams["lock_timeout"] = "50"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	_, err = postgres.Open(t.Context(), pool, postgres.Table{Machine: order, Name: "orders"})
	if err == nil || !strings.Contains(err.Error(), "lock_timeout") {
		t.Errorf("Open = %v, want an error that names lock_timeout", err)
	}
}
