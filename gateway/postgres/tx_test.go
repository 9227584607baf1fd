package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

func isTaken(err error) bool { return errors.Is(err, gateway.ErrTaken) }

var errDown = errors.New("down")

// TestHandlersTransaction checks when what a handler wrote is kept, and when its response is.
func TestHandlersTransaction(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	mustExec(t, direct, `
CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO late VALUES (1)`)
	fails := func(r *http.Request) {
		if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `SELECT 1/0`); err == nil {
			t.Error("1/0 is a number")
		}
	}
	for name, c := range map[string]struct {
		handle            func(w http.ResponseWriter, r *http.Request) // after it wrote
		status            int
		panics            bool
		effects, repeated int // repeated: how often the handler runs for two requests
	}{
		"success":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, 201, false, 1, 1},
		"redirect": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSeeOther) }, 303, false, 1, 1},
		"refusal":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, 422, false, 0, 1},
		"refusal after a failed statement": {func(w http.ResponseWriter, r *http.Request) {
			fails(r)
			w.WriteHeader(http.StatusConflict)
		}, 409, false, 0, 1},
		"success after a failed statement": {func(_ http.ResponseWriter, r *http.Request) { fails(r) }, 500, false, 0, 2},
		"success after a savepoint": {func(_ http.ResponseWriter, r *http.Request) {
			tx, err := postgres.Tx(r.Context()).Begin(r.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := tx.Exec(r.Context(), `SELECT 1/0`); err == nil {
				t.Error("1/0 is a number")
			}
			if err := tx.Rollback(r.Context()); err != nil {
				t.Error(err)
			}
		}, 200, false, 1, 1},
		"error":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 502, false, 0, 2},
		"too many":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, 429, false, 0, 2},
		"panic":            {func(http.ResponseWriter, *http.Request) { panic(errDown) }, 200, true, 0, 2},
		"a cut-off answer": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "3") }, 500, false, 0, 2},
		"a constraint at the end": {func(_ http.ResponseWriter, r *http.Request) {
			if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `INSERT INTO late VALUES (1)`); err != nil {
				t.Error(err)
			}
		}, 500, false, 0, 2},
		"Commit": {func(_ http.ResponseWriter, r *http.Request) {
			tx := postgres.Tx(r.Context())
			for _, err := range []error{tx.Commit(r.Context()), tx.Rollback(r.Context())} {
				if !errors.Is(err, postgres.ErrManaged) {
					t.Errorf("the handler could end the transaction: %v", err)
				}
			}
		}, 200, false, 1, 1},
		"ROLLBACK": {func(_ http.ResponseWriter, r *http.Request) {
			if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `ROLLBACK`); err != nil {
				t.Error(err)
			}
		}, 500, false, 0, 2},
		"ROLLBACK AND CHAIN": {func(_ http.ResponseWriter, r *http.Request) {
			if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `ROLLBACK AND CHAIN`); err != nil {
				t.Error(err)
			}
		}, 500, false, 0, 2},
		"ROLLBACK AND CHAIN, and a refusal": {func(w http.ResponseWriter, r *http.Request) {
			if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `ROLLBACK AND CHAIN`); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusConflict)
		}, 500, false, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			pool := poolOf(t, direct)
			h := server(t, open(t, pool, postgres.Config{}), func(w http.ResponseWriter, r *http.Request) {
				runs++
				if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `INSERT INTO effects (what) VALUES ($1)`, name); err != nil {
					t.Error(err)
				}
				c.handle(w, r)
			})
			for range 2 {
				w, panicked := post(t.Context(), h, name)
				if w.Code != c.status || (panicked != nil) != c.panics {
					t.Errorf("%d %s, panic %v, want %d", w.Code, w.Body, panicked, c.status)
				}
			}
			if n := effects(t, direct, name); n != c.effects || runs != c.repeated {
				t.Errorf("%d effects of %d runs, want %d of %d", n, runs, c.effects, c.repeated)
			}
			if err := idle(t.Context(), direct, pool); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTransactionIsOver checks that the transaction can't be used after the handler.
func TestTransactionIsOver(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	var kept pgx.Tx
	h := server(t, open(t, poolOf(t, direct), postgres.Config{}), func(_ http.ResponseWriter, r *http.Request) { kept = postgres.Tx(r.Context()) })
	wantCode(t, mustPost(t, h, "k"), http.StatusOK)
	if _, err := kept.Exec(t.Context(), `INSERT INTO effects (what) VALUES ('late')`); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("Exec after the handler: %v, want ErrTxClosed", err)
	}
	if tx := postgres.Tx(t.Context()); tx != nil {
		t.Errorf("there is a transaction without a request: %v", tx)
	}
}

// TestSerializable checks that a handler's transaction that PostgreSQL refuses to serialize
// is retried by the client.
func TestSerializable(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	b := open(t, poolOf(t, direct), postgres.Config{TxOptions: pgx.TxOptions{IsoLevel: pgx.Serializable}})
	skew := func(ctx context.Context, tx pgx.Tx, what string) error {
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM effects`).Scan(&n); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO effects (what) VALUES ($1)`, fmt.Sprint(what, n))
		return err
	}
	disturbed := false
	h := server(t, b, func(w http.ResponseWriter, r *http.Request) {
		err := skew(r.Context(), postgres.Tx(r.Context()), "request ")
		if !disturbed && err == nil {
			disturbed = true
			err = pgx.BeginTxFunc(r.Context(), direct, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
				return skew(r.Context(), tx, "other ")
			})
		}
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
	})
	if w, _ := post(t.Context(), h, "k"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s, want 503", w.Code, w.Body)
	}
	wantCode(t, mustPost(t, h, "k"), http.StatusCreated)
	if n := count(t, direct, `SELECT count(*) FROM effects WHERE what IN ('other 0', 'request 1')`); n != 2 || responses(t, direct) != 1 {
		t.Errorf("%d effects and %d responses", n, responses(t, direct))
	}
}
