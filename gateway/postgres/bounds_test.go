package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// TestConnections checks how many connections requests hold: those that run one each, up to
// the bound; those that wait for a key or for their turn none. Repeats are answered meanwhile.
func TestConnections(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	h := server(t, open(t, pool, postgres.Config{MaxRunning: 2, QueueTimeout: time.Minute}), func(w http.ResponseWriter, r *http.Request) {
		if keyOf(r) != "old" {
			entered <- struct{}{}
			<-leave
		}
		write(w, r)
	}, func(c *gateway.Config) { c.Wait = time.Minute })
	wantCode(t, mustPost(t, h, "old"), http.StatusCreated)
	var wait sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[int]int)
	for i := range 60 {
		wait.Go(func() {
			w, _ := post(t.Context(), h, fmt.Sprint("k", i%6)) // ten with each key
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	<-entered
	<-entered
	for range 20 { // the others have come by now, or do while these are answered
		wantCode(t, mustPost(t, h, "old"), http.StatusCreated)
		if n := pool.Stat().AcquiredConns(); n > 2+4 {
			t.Errorf("%d connections are in use", n)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := pool.Stat().AcquiredConns(); n != 2 {
			return fmt.Errorf("%d connections are in use, want 2", n)
		}
		return nil
	})
	if len(entered) > 0 {
		t.Error("more requests run than may")
	}
	close(leave)
	wait.Wait()
	if codes[http.StatusCreated] != 60 || count(t, direct, `SELECT count(*) FROM effects WHERE what LIKE 'k%'`) != 6 {
		t.Errorf("the answers are %v", codes)
	}
}

// TestBusy checks what requests are told for which there is no connection.
func TestBusy(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	conns := make([]*pgxpool.Conn, 6)
	drain := func(n int) {
		t.Helper()
		for i := range n {
			var err error
			if conns[i], err = pool.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill := func(n int) {
		for _, conn := range conns[:n] {
			conn.Release()
		}
	}
	drain(6) // connects, which takes its time
	fill(6)
	b := open(t, pool, postgres.Config{MaxRunning: 1, QueueTimeout: 500 * time.Millisecond, RetryAfter: 7 * time.Second})
	key := func(k string) gateway.Key { return gateway.Key{Tenant: "acme", Value: k} }
	run, _, err := b.Begin(t.Context(), key("a"))
	if err != nil {
		t.Fatal(err)
	}
	wantUnavailable := func(err error) {
		t.Helper()
		if e, ok := errors.AsType[*gateway.UnavailableError](err); !ok || e.RetryAfter != 7*time.Second {
			t.Errorf("Begin: %v, want an UnavailableError", err)
		}
	}
	_, _, err = b.Begin(t.Context(), key("b"))
	wantUnavailable(err)
	if _, _, err = b.Begin(t.Context(), key("a")); !isInProgress(err) {
		t.Errorf("a claimed key: %v", err)
	}
	drain(5)
	_, _, err = b.Begin(t.Context(), key("c"))
	wantUnavailable(err)
	fill(5)
	if err := run.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for _, k := range []string{"a", "b", "c"} { // nothing was left claimed
		run, _, err := b.Begin(t.Context(), key(k))
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func isInProgress(err error) bool {
	_, ok := errors.AsType[*gateway.InProgressError](err)
	return ok
}

// TestExpires checks how long responses are kept, by the server's clock.
func TestExpires(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]int{0: 24 * 3600, 90 * time.Second: 90} {
		for name, kind := range kinds {
			direct := testenv.Pool(t, migrated)
			h := server(t, kind(open(t, poolOf(t, direct), postgres.Config{TTL: ttl})), func(w http.ResponseWriter, r *http.Request) {
				if tx := postgres.Tx(r.Context()); tx != nil {
					write(w, r)
				}
			})
			first := mustPost(t, h, "k")
			left := count(t, direct, `SELECT extract(epoch FROM expires_at - now())::int FROM pawl.responses`)
			if left > want || left < want-30 {
				t.Errorf("%s: the response expires in %d s, want %d", name, left, want)
			}
			if second := mustPost(t, h, "k"); second.Header().Get("Idempotent-Replayed") == "" || second.Body.String() != first.Body.String() {
				t.Errorf("%s: the repeat ran: %s", name, second.Body)
			}
			expire(t, direct)
			if third := mustPost(t, h, "k"); third.Header().Get("Idempotent-Replayed") != "" {
				t.Errorf("%s: an expired response was sent: %s", name, third.Body)
			}
			if n := count(t, direct, `SELECT count(*) FROM pawl.responses WHERE expires_at > now()`); n != 1 || responses(t, direct) != 1 {
				t.Errorf("%s: %d of %d responses are fresh", name, n, responses(t, direct))
			}
		}
	}
}

// TestSweep checks that a sweep deletes what has expired, in batches that use the index.
func TestSweep(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	b := open(t, poolOf(t, direct), postgres.Config{SweepEvery: time.Millisecond})
	mustExec(t, direct, `
INSERT INTO pawl.responses (id, response, expires_at)
SELECT sha256(i::text::bytea), 'x', now() + CASE WHEN i <= 2500 THEN -1 ELSE 1 END * make_interval(secs => i) FROM generate_series(1, 20000) AS i`)
	mustExec(t, direct, `ANALYZE pawl.responses`)
	rows, err := direct.Query(t.Context(), `EXPLAIN `+postgres.SweepSQL, pgx.QueryExecModeExec, time.Unix(0, 0), 1000)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if all := strings.Join(plan, "\n"); err != nil || strings.Contains(all, "Seq Scan") || !strings.Contains(all, "responses_expires_at") {
		t.Errorf("the sweep scans the table: %v\n%s", err, all)
	}
	// A row that another transaction has locked is left for the next sweep.
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM pawl.responses WHERE id = sha256('7') FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Sweep(t.Context()); n != 2499 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, func(err error) { t.Error(err) }) }()
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := responses(t, direct); n != 17500 {
			return fmt.Errorf("%d responses are left, want 17500", n)
		}
		return nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// TestRunReports checks that failures of sweeps are reported, and do not end them.
func TestRunReports(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	b := open(t, poolOf(t, direct), postgres.Config{SweepEvery: time.Millisecond})
	mustExec(t, direct, `ALTER TABLE pawl.responses RENAME TO gone`)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := b.Run(ctx, func(error) {
		if n++; n == 3 {
			cancel()
		}
	}); err != nil || n != 3 {
		t.Errorf("Run = %v after %d failures", err, n)
	}
}

// TestOpen checks that all problems are found when the backend is opened.
func TestOpen(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), nil, postgres.Config{Schema: "pg_x"})
	wantParts(t, err, "the pool is nil", "pg_x")
	direct := testenv.Pool(t, migrated)
	_, err = postgres.Open(t.Context(), poolOf(t, direct), postgres.Config{
		TTL: -1, QueueTimeout: -1, RetryAfter: -1, IdleTimeout: -1, SweepEvery: -1, MaxRunning: 6,
		TxOptions: pgx.TxOptions{AccessMode: pgx.ReadOnly, BeginQuery: "begin"},
	})
	wantParts(t, err, "TTL", "QueueTimeout", "RetryAfter", "IdleTimeout", "SweepEvery", "MaxRunning is 6", "read only", "BeginQuery")
	_, err = postgres.Open(t.Context(), poolOf(t, direct), postgres.Config{Schema: "nowhere"})
	if _, ok := errors.AsType[*migrations.SchemaError](err); !ok {
		t.Errorf("Open without the schema: %v", err)
	}
	mustExec(t, direct, `ALTER TABLE pawl.responses RENAME TO gone`)
	_, err = postgres.Open(t.Context(), poolOf(t, direct), postgres.Config{})
	if e, ok := errors.AsType[*migrations.SchemaError](err); !ok || e.Want != 6 {
		t.Errorf("Open with an old schema: %v", err)
	}
}

func wantParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not contain %q", err, part)
		}
	}
}

// TestRights checks that the documented rights suffice, and that each is needed.
func TestRights(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	role := pgx.Identifier{"api_" + direct.Config().ConnConfig.Database}.Sanitize()
	mustExec(t, direct, `CREATE ROLE `+role)
	t.Cleanup(func() {
		if _, err := direct.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	pool := poolOf(t, direct, func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `SET ROLE `+role)
			return err
		}
	})
	mustExec(t, direct, `GRANT USAGE ON SCHEMA pawl TO `+role+`; GRANT SELECT ON pawl.goose_db_version TO `+role)
	for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
		_, err := postgres.Open(t.Context(), pool, postgres.Config{})
		if !errors.Is(err, postgres.ErrRights) || !strings.Contains(err.Error(), "lacks "+right) {
			t.Errorf("without %s: %v", right, err)
		}
		mustExec(t, direct, `GRANT `+right+` ON pawl.responses TO `+role)
	}
	mustExec(t, direct, `GRANT INSERT, SELECT ON effects TO `+role)
	b := open(t, pool, postgres.Config{})
	for name, kind := range kinds {
		h := server(t, kind(b), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
		for range 2 {
			wantCode(t, mustPost(t, h, name), http.StatusCreated)
		}
		expire(t, direct)
		wantCode(t, mustPost(t, h, name), http.StatusCreated)
	}
	expire(t, direct)
	if n, err := b.Sweep(t.Context()); n != 2 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
}

// TestSchemas checks that keys of different schemas are independent, whatever their names.
func TestSchemas(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	direct, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(direct.Close)
	key := gateway.Key{Tenant: "acme", Value: "k"}
	runs := make([]gateway.Run, 0, 4)
	for _, schema := range []string{"o'dd \"one", "pawl"} {
		if err := migrate.UpIn(t.Context(), url, migrations.Schema(schema)); err != nil {
			t.Fatal(err)
		}
		b := open(t, poolOf(t, direct), postgres.Config{Schema: schema})
		run, _, err := b.Begin(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.WithoutTransaction().Begin(t.Context(), key); !isInProgress(err) {
			t.Errorf("%s: the other kind of backend: %v, want an InProgressError", schema, err)
		}
		runs = append(runs, run)
	}
	for _, run := range runs {
		if err := run.Finish(t.Context(), gateway.Result{Response: []byte("x")}); err != nil {
			t.Error(err)
		}
	}
}
