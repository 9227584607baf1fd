package postgres_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// TestCrashPoints cuts the connection of a request before and after each message that it
// sends to the server. The client never gets a success for a change that is not there, nor an
// error for one that is, except one that says that nobody knows; and the retry makes the
// change or finds it.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	var f faults
	frail := server(t, open(t, poolOf(t, direct, f.use), postgres.Config{}), write)
	sound := server(t, open(t, poolOf(t, direct), postgres.Config{}), write)
	wantCode(t, mustPost(t, frail, "warm up"), http.StatusCreated)
	unknown := make(map[int]bool) // effects after an unknown outcome
	cut := 0
	// The pool uses connections too, so that a round may miss a point.
	for round := range 6 {
		if round >= 2 && unknown[0] && unknown[1] {
			break
		}
		after := round%2 == 1
		for n := 1; ; n++ {
			k := fmt.Sprint("k", n, after, round)
			f.arm(n, after)
			first, _ := post(t.Context(), frail, k)
			struck := f.disarm()
			made := effects(t, direct, k)
			switch {
			case first.Code == http.StatusCreated && made == 1:
			case strings.Contains(first.Body.String(), "outcome_unknown"):
				unknown[made] = true
			case first.Code >= 500 && made == 0:
			default:
				t.Errorf("%s: %d %s, with %d effects", k, first.Code, first.Body, made)
			}
			second := mustPost(t, sound, k)
			want := wantCode(t, second, http.StatusCreated)
			if first.Code == http.StatusCreated && first.Body.String() != want {
				t.Errorf("%s: the first answer was %s, the second is %s", k, first.Body, want)
			}
			if third := mustPost(t, frail, k); wantCode(t, third, http.StatusCreated) != want || third.Header().Get("Idempotent-Replayed") == "" {
				t.Errorf("%s: the answer is %s, want %s", k, third.Body, want)
			}
			if made := effects(t, direct, k); made != 1 {
				t.Errorf("%s: %d effects", k, made)
			}
			if !struck {
				break
			}
			cut++
		}
	}
	if cut < 8 || !unknown[0] || !unknown[1] {
		t.Errorf("%d connections were cut, and unknown outcomes were %v; want both", cut, unknown)
	}
}

// TestKilledWhileHandling ends the sessions of a process at each step of a handler.
func TestKilledWhileHandling(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for _, when := range []string{"before the change", "after the change"} {
		pool := poolOf(t, direct)
		died := false
		h := server(t, open(t, pool, postgres.Config{}), func(w http.ResponseWriter, r *http.Request) {
			if when == "before the change" && !died {
				kill(t, direct, pool)
			}
			write(w, r)
			if when == "after the change" && !died {
				kill(t, direct, pool)
			}
			died = true
		})
		if w, _ := post(t.Context(), h, when); w.Code < 500 {
			t.Errorf("killed %s: %d %s", when, w.Code, w.Body)
		}
		wantCode(t, mustPost(t, h, when), http.StatusCreated)
		if n := effects(t, direct, when); n != 1 {
			t.Errorf("killed %s: %d effects", when, n)
		}
	}
}

// TestClientHangsUp lets the client go at each step of a handler.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	for _, when := range []string{"before the change", "after the change"} {
		ctx, cancel := context.WithCancel(t.Context())
		h := server(t, open(t, poolOf(t, direct), postgres.Config{}), func(w http.ResponseWriter, r *http.Request) {
			if when == "before the change" {
				cancel()
			}
			write(w, r)
			cancel()
		})
		first, _ := post(ctx, h, when)
		if first.Code == http.StatusCreated != (effects(t, direct, when) == 1) {
			t.Errorf("gone %s: %d, with %d effects", when, first.Code, effects(t, direct, when))
		}
		wantCode(t, mustPost(t, server(t, open(t, poolOf(t, direct), postgres.Config{}), write), when), http.StatusCreated)
		if n := effects(t, direct, when); n != 1 {
			t.Errorf("gone %s: %d effects", when, n)
		}
	}
}

// TestPrimaryKeyDecides stores a response while a request with its key runs, which can happen
// only if a lock was lost: what the later one did is undone, and it is answered with the
// first response.
func TestPrimaryKeyDecides(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := testenv.Pool(t, migrated)
			one, other := kind(open(t, poolOf(t, direct), postgres.Config{})), gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "k"}
			run, _, err := one.Begin(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			if tx := postgres.Tx(run.Context(t.Context())); tx != nil {
				if _, err := tx.Exec(t.Context(), `INSERT INTO effects (what) VALUES ('k')`); err != nil {
					t.Fatal(err)
				}
			}
			id := other.ID()
			mustExec(t, direct, `INSERT INTO pawl.responses (id, response, expires_at) VALUES ($1, 'first', now() + interval '1 hour')`, id[:])
			if err := run.Finish(t.Context(), gateway.Result{Response: []byte("second")}); !isTaken(err) {
				t.Errorf("Finish: %v, want ErrTaken", err)
			}
			if _, stored, err := one.Begin(t.Context(), other); string(stored) != "first" || err != nil {
				t.Errorf("stored is %q, %v", stored, err)
			}
			if n := effects(t, direct, "k"); n != 0 {
				t.Errorf("%d effects of the second run", n)
			}
		})
	}
}

// idle returns an error if a session of a pool's process is in a transaction or holds locks.
func idle(ctx context.Context, direct, pool *pgxpool.Pool) error {
	var n int
	err := direct.QueryRow(ctx, `
SELECT count(*) FROM pg_stat_activity AS a WHERE application_name = $1
AND (state LIKE 'idle in transaction%' OR EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory'))`,
		pool.Config().ConnConfig.RuntimeParams["application_name"]).Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d sessions are in a transaction or hold locks", n)
	}
	return err
}
