package postgres_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// TestReadOnlySessions makes the sessions of a pool read-only, while new ones may write, as
// after a failover: the old ones are replaced.
func TestReadOnlySessions(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for name, kind := range kinds {
		for who, handle := range map[string]http.HandlerFunc{
			"the handler": func(w http.ResponseWriter, r *http.Request) {
				if postgres.Tx(r.Context()) == nil {
					return
				}
				if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `INSERT INTO effects (what) VALUES ('x')`); err != nil {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			},
			"the gateway": func(http.ResponseWriter, *http.Request) {},
		} {
			pool := poolOf(t, direct)
			h := server(t, kind(open(t, pool, postgres.Config{})), handle)
			wantCode(t, mustPost(t, h, fmt.Sprint(name, who, "before")), http.StatusOK)
			makeReadOnly(t, pool)
			for i := range 5 {
				wantCode(t, mustPost(t, h, fmt.Sprint(name, who, i)), http.StatusOK)
			}
		}
	}
}

// makeReadOnly makes all sessions of a pool read-only.
func makeReadOnly(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var conns []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.Exec(t.Context(), `SET default_transaction_read_only = on`); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		conn.Release()
	}
}

// TestReadOnlySessionRunsNothing checks that no handler runs in a transaction that could store
// no response.
func TestReadOnlySessionRunsNothing(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	pool := poolOf(t, direct)
	runs := 0
	h := server(t, open(t, pool, postgres.Config{}), func(http.ResponseWriter, *http.Request) { runs++ })
	makeReadOnly(t, pool)
	w, _ := post(t.Context(), h, "k")
	wantCode(t, w, http.StatusServiceUnavailable)
	if runs != 0 {
		t.Error("the handler ran")
	}
	wantCode(t, mustPost(t, h, "k"), http.StatusOK)
	if runs != 1 {
		t.Errorf("the handler ran %d times", runs)
	}
}

// TestHandlerMakesItsTransactionReadOnly checks that this is not taken for a failover: no
// connection is replaced, and the response is stored.
func TestHandlerMakesItsTransactionReadOnly(t *testing.T) {
	t.Parallel()
	pool := poolOf(t, testenv.Pool(t, migrated))
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		runs := 0
		h := server(t, open(t, pool, postgres.Config{}), func(w http.ResponseWriter, r *http.Request) {
			runs++
			for _, sql := range []string{`SET TRANSACTION READ ONLY`, `SAVEPOINT a`, `INSERT INTO effects (what) VALUES ('x')`, `ROLLBACK TO a`} {
				_, _ = postgres.Tx(r.Context()).Exec(r.Context(), sql) // the INSERT fails
			}
			w.WriteHeader(status)
		})
		before := pool.Stat().NewConnsCount()
		for range 2 {
			w, _ := post(t.Context(), h, fmt.Sprint(status))
			wantCode(t, w, status)
		}
		if n := pool.Stat().NewConnsCount() - before; n != 0 || runs != 1 {
			t.Errorf("%d: %d connections were replaced; the handler ran %d times", status, n, runs)
		}
	}
}
