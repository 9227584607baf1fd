package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// endless is a statement that runs until it is canceled.
const endless = `SELECT pg_sleep(3600)`

// blocked is a source of rows that waits.
type blocked struct{ until <-chan struct{} }

func (b blocked) Next() bool           { <-b.until; return false }
func (blocked) Values() ([]any, error) { return nil, nil }
func (blocked) Err() error             { return errDown }

// leavings are what handlers can leave behind when they return. Those with a call that goes on
// return its error.
var leavings = map[string]struct {
	starts func(ctx context.Context, tx pgx.Tx) error
	goesOn func(ctx context.Context, tx pgx.Tx, over <-chan struct{}) error
}{
	"a statement": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		_, err := tx.Exec(ctx, endless)
		return err
	}},
	"a statement in a savepoint": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		inner, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		_, err = inner.Exec(ctx, endless)
		return errors.Join(err, inner.Rollback(ctx))
	}},
	"many statements": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		for {
			if _, err := tx.Exec(ctx, `SELECT pg_sleep(0.01)`); err != nil {
				return err
			}
		}
	}},
	"a query": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		rows, err := tx.Query(ctx, endless)
		if err != nil {
			return err
		}
		_, err = pgx.CollectRows(rows, pgx.RowTo[any])
		return err
	}},
	"a row": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		return tx.QueryRow(ctx, endless).Scan(nil)
	}},
	"a batch": {goesOn: func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		batch := &pgx.Batch{}
		batch.Queue(endless)
		return tx.SendBatch(ctx, batch).Close()
	}},
	"a copy": {goesOn: func(ctx context.Context, tx pgx.Tx, over <-chan struct{}) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"what"}, blocked{over})
		return err
	}},
	"open rows": {starts: func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Query(ctx, `SELECT generate_series(1, 1000000)`)
		return err
	}},
	"a row that is not scanned": {starts: func(ctx context.Context, tx pgx.Tx) error {
		_ = tx.QueryRow(ctx, `SELECT 1`)
		return nil
	}},
	"an open batch": {starts: func(ctx context.Context, tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(endless)
		_ = tx.SendBatch(ctx, batch)
		return nil
	}},
}

// TestHandlerLeaves returns from handlers that leave work behind. It must not meet the
// gateway's own statements. Nothing of it takes effect, its key is free, and no connection is
// lost.
func TestHandlerLeaves(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for name, left := range leavings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := poolOf(t, direct)
			b := open(t, pool, postgres.Config{})
			for status, want := range map[int]int{200: 500, 409: 500, 503: 503} {
				k := fmt.Sprint(name, status)
				over := make(chan struct{})
				late := make(chan error, 1)
				w, panicked := post(t.Context(), server(t, b, func(w http.ResponseWriter, r *http.Request) {
					ctx, tx := context.WithoutCancel(r.Context()), postgres.Tx(r.Context())
					if _, err := tx.Exec(ctx, `INSERT INTO effects (what) VALUES ($1)`, k); err != nil {
						t.Error(err)
					}
					if left.starts != nil {
						late <- left.starts(ctx, tx)
					} else {
						go func() { late <- left.goesOn(ctx, tx, over) }()
						testenv.Eventually(t, 10*time.Second, func() error { return active(ctx, direct, pool) })
					}
					w.WriteHeader(status)
				}), k)
				if w.Code != want || panicked != nil {
					t.Errorf("%d %s, panic %v, want %d", w.Code, w.Body, panicked, want)
				}
				close(over)
				if err := <-late; (err == nil) != (left.starts != nil) {
					t.Errorf("the call that was left behind: %v", err)
				}
				wantCode(t, mustPost(t, server(t, b, write), k), http.StatusCreated)
				if n := effects(t, direct, k); n != 1 {
					t.Errorf("%d effects, want that of the second request", n)
				}
			}
			if err := idle(t.Context(), direct, pool); err != nil {
				t.Error(err)
			}
			wantWhole(t, pool)
		})
	}
}

// active reports whether a session of a pool runs a statement.
func active(ctx context.Context, direct, pool *pgxpool.Pool) error {
	var n int
	err := direct.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'`,
		pool.Config().ConnConfig.RuntimeParams["application_name"]).Scan(&n)
	if err == nil && n == 0 {
		err = errors.New("no statement runs")
	}
	return err
}

// wantWhole checks that all connections of a pool are there, and work.
func wantWhole(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var conns []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			t.Errorf("only %d connections are left: %v", len(conns), err)
			break
		}
		conns = append(conns, conn)
		if _, err := conn.Exec(ctx, `SELECT`); err != nil {
			t.Error(err)
		}
	}
	for _, conn := range conns {
		conn.Release()
	}
}

// TestTimeoutHandler puts a timeout inside of the gateway, where it does not belong: the
// handler goes on while its request is answered.
func TestTimeoutHandler(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for _, listens := range []bool{true, false} { // to its context
		pool := poolOf(t, direct)
		var inner sync.WaitGroup
		b := open(t, pool, postgres.Config{})
		for i := range 40 {
			slow := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				inner.Add(1)
				defer inner.Done()
				ctx := r.Context()
				if !listens {
					ctx = context.WithoutCancel(ctx)
				}
				for {
					if _, err := postgres.Tx(ctx).Exec(ctx, `INSERT INTO effects (what) VALUES ('slow')`); err != nil {
						return
					}
				}
			})
			h := http.TimeoutHandler(slow, time.Duration(2000+rand.IntN(1000))*time.Microsecond, "too slow")
			if w, panicked := post(t.Context(), server(t, b, h.ServeHTTP), fmt.Sprint(listens, i)); w.Code != http.StatusServiceUnavailable || panicked != nil {
				t.Fatalf("%d %s, panic %v, want 503", w.Code, w.Body, panicked)
			}
		}
		inner.Wait()
		wantWhole(t, pool)
	}
	if n := effects(t, direct, "slow"); n != 0 {
		t.Errorf("%d effects of requests without a response", n)
	}
}

// TestAfterHandler uses everything that a handler gets after it has returned.
func TestAfterHandler(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct, func(c *pgxpool.Config) { c.MaxConns = 2 }) // one for transactions
	var tx, inner pgx.Tx
	var rows pgx.Rows
	var batch pgx.BatchResults
	h := server(t, open(t, pool, postgres.Config{}), func(_ http.ResponseWriter, r *http.Request) {
		tx = postgres.Tx(r.Context())
		var err error
		if inner, err = tx.Begin(r.Context()); err != nil {
			t.Error(err)
		}
		queue := &pgx.Batch{}
		queue.Queue(`SELECT 1`)
		batch = inner.SendBatch(r.Context(), queue)
		if err := batch.Close(); err != nil {
			t.Error(err)
		}
		if rows, err = tx.Query(r.Context(), `SELECT 1`); err != nil { //nolint:sqlclosecheck // closed below
			t.Error(err)
		}
		rows.Close()
	})
	wantCode(t, mustPost(t, h, "k"), http.StatusOK)
	ctx := t.Context()
	late := func(tx pgx.Tx) map[string]error {
		errs := make(map[string]error)
		_, errs["Begin"] = tx.Begin(ctx)
		_, errs["CopyFrom"] = tx.CopyFrom(ctx, pgx.Identifier{"effects"}, []string{"what"}, pgx.CopyFromRows(nil))
		errs["SendBatch"] = tx.SendBatch(ctx, &pgx.Batch{}).Close()
		_, errs["Prepare"] = tx.Prepare(ctx, "late", `SELECT 1`)
		_, errs["Exec"] = tx.Exec(ctx, `INSERT INTO effects (what) VALUES ('late')`)
		late, err := tx.Query(ctx, `SELECT 1`)
		errs["Query"] = err
		errs["Rows"] = late.Err()
		errs["QueryRow"] = tx.QueryRow(ctx, `SELECT 1`).Scan(nil)
		objects := tx.LargeObjects()
		_, errs["LargeObjects"] = objects.Create(ctx, 0)
		if tx.Conn() != nil {
			errs["Conn"] = errors.New("there is a connection")
		}
		return errs
	}
	for kind, errs := range map[string]map[string]error{"the transaction": late(tx), "a savepoint": late(inner)} {
		for name, err := range errs {
			if !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("%s of %s after the handler: %v, want ErrTxClosed", name, kind, err)
			}
		}
	}
	for _, err := range []error{inner.Commit(ctx), inner.Rollback(ctx), batch.Close(), rows.Scan(nil)} {
		if !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("after the handler: %v, want ErrTxClosed", err)
		}
	}
	rows.Close()
	if !errors.Is(rows.Err(), pgx.ErrTxClosed) || rows.Conn() != nil {
		t.Errorf("rows after the handler: %v, %v", rows.Err(), rows.Conn())
	}
	wantWhole(t, pool)
}

// calling makes a call when a row is scanned.
type calling func() error

func (c calling) ScanInt64(pgtype.Int8) error { return c() }

// TestCallsInCalls makes calls during others, which must not wait for each other.
func TestCallsInCalls(t *testing.T) {
	t.Parallel()
	h := server(t, open(t, poolOf(t, testenv.Pool(t, migrated)), postgres.Config{}), func(_ http.ResponseWriter, r *http.Request) {
		tx := postgres.Tx(r.Context())
		err := tx.QueryRow(r.Context(), `SELECT 1`).Scan(calling(func() error {
			_, err := tx.Exec(r.Context(), `SELECT`)
			return err
		}))
		if err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("a call during another: %v", err)
		}
		if _, err := tx.Exec(r.Context(), `SELECT`); err != nil {
			t.Errorf("a call after that: %v", err)
		}
	})
	wantCode(t, mustPost(t, h, "k"), http.StatusOK)
}

// TestRawConnection takes the connection itself, or large objects, out of the transaction. The
// gateway can't see what happens to it, so no other request may get it.
func TestRawConnection(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	b := open(t, pool, postgres.Config{})
	var conn *pgx.Conn
	for name, take := range map[string]func(ctx context.Context, tx pgx.Tx) error{
		"Conn": func(_ context.Context, tx pgx.Tx) error { conn = tx.Conn(); return nil },
		"Conn of rows": func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT 1`)
			conn = rows.Conn()
			rows.Close()
			return err
		},
		"LargeObjects": func(ctx context.Context, tx pgx.Tx) error {
			conn = tx.Conn()
			objects := tx.LargeObjects()
			_, err := objects.Create(ctx, 0)
			return err
		},
	} {
		h := server(t, b, func(w http.ResponseWriter, r *http.Request) {
			if err := take(r.Context(), postgres.Tx(r.Context())); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			write(w, r)
		})
		wantCode(t, mustPost(t, h, name), http.StatusCreated)
		if n := effects(t, direct, name); n != 1 {
			t.Errorf("%s: %d effects", name, n)
		}
		if _, err := conn.Exec(t.Context(), `SELECT`); err == nil {
			t.Errorf("%s: the connection is open", name)
		}
	}
	wantWhole(t, pool)
}
