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
