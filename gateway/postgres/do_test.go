package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	store "github.com/pawl-go/pawl/versioning/postgres"
)

type wallet struct {
	Balance int64 `db:"balance"`
}

// wallets is a machine whose event can happen any number of times: only the message ID tells
// a repeat from another deposit.
var wallets = statemachine.MustCompile(statemachine.Definition{
	Name: "wallet", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "deposited", From: statemachine.In("open"), To: "open", Do: statemachine.Do(func(_ *statemachine.Firing, w *wallet, amount int64) error {
			w.Balance += amount
			return nil
		})},
		{Event: "closed", From: statemachine.In("open"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

// openWallets returns a store with the wallet w.
func openWallets(t *testing.T, pool *pgxpool.Pool, isNew bool) *store.Store {
	t.Helper()
	if isNew {
		mustExec(t, pool, `CREATE TABLE wallets (id text COLLATE "C" PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, balance bigint NOT NULL DEFAULT 0)`)
	}
	s, err := store.Open(t.Context(), pool, store.Table{Machine: wallets, Name: "wallets"})
	if err != nil {
		t.Fatal(err)
	}
	if isNew {
		if o, err := s.Do(t.Context(), versioning.Change{Key: "w", Event: "opened"}); err != nil || o.Verdict != versioning.Applied {
			t.Fatal(o, err)
		}
	}
	return s
}

// deposit is a handler that deposits 1 into wallet w through Store.Do, and answers from the
// row.
func deposit(s *store.Store, pool *pgxpool.Pool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		outcome, err := s.Do(r.Context(), versioning.Change{Key: "w", Event: "deposited", Data: int64(1), MessageID: gateway.MessageID(r.Context())})
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		if outcome.Verdict != versioning.Applied && outcome.Verdict != versioning.Duplicate {
			http.Error(w, outcome.Detail, http.StatusConflict)
			return
		}
		var balance int64
		if err := pool.QueryRow(r.Context(), `SELECT balance FROM wallets WHERE id = 'w'`).Scan(&balance); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "balance ", balance)
	}
}

func steps(t *testing.T, direct *pgxpool.Pool, k string) int {
	t.Helper()
	id := gateway.Key{Tenant: "acme", Route: "POST /orders", Value: k}.MessageID()
	return count(t, direct, `SELECT count(*) FROM pawl.transitions WHERE message_id = $1`, id)
}

// TestDoCrashPoints cuts a connection before and after each message that a request with
// Store.Do sends: the gateway's, the store's and the handler's. The change is made once, and
// after a success the answer stays the same.
func TestDoCrashPoints(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	openWallets(t, direct, true)
	var f faults
	frailPool, soundPool := poolOf(t, direct, f.use), poolOf(t, direct)
	frail := server(t, open(t, frailPool, postgres.Config{}).WithoutTransaction(), deposit(openWallets(t, frailPool, false), frailPool))
	sound := server(t, open(t, soundPool, postgres.Config{}).WithoutTransaction(), deposit(openWallets(t, soundPool, false), soundPool))
	wantCode(t, mustPost(t, frail, "warm up"), http.StatusOK)
	cut, made := 0, 1
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			k := fmt.Sprint("k", n, after)
			f.arm(n, after)
			first, _ := post(t.Context(), frail, k)
			struck := f.disarm()
			if first.Code < 500 && (first.Code != http.StatusOK || steps(t, direct, k) != 1) {
				t.Errorf("%s: %d %s, with %d steps", k, first.Code, first.Body, steps(t, direct, k))
			}
			want := wantCode(t, mustPost(t, sound, k), http.StatusOK)
			if first.Code == http.StatusOK && first.Body.String() != want {
				t.Errorf("%s: the first answer was %s, the second is %s", k, first.Body, want)
			}
			made++
			if got := wantCode(t, mustPost(t, frail, k), http.StatusOK); got != want || want != fmt.Sprint("balance ", made) {
				t.Errorf("%s: the answers are %s and %s, want balance %d", k, want, got, made)
			}
			if n := steps(t, direct, k); n != 1 {
				t.Errorf("%s: %d steps", k, n)
			}
			if !struck {
				break
			}
			cut++
		}
	}
	if cut < 10 {
		t.Errorf("%d connections were cut", cut)
	}
}

// TestDoAfterExpiry repeats a request whose response has expired: the history proves that the
// change was made, and the answer comes from the row. The same key with another body is a
// different change.
func TestDoAfterExpiry(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	s := openWallets(t, direct, true)
	h := server(t, open(t, poolOf(t, direct), postgres.Config{}).WithoutTransaction(), deposit(s, direct))
	for i, want := range []string{"balance 1", "balance 1", "balance 2"} {
		k := []string{"a", "a", "b"}[i]
		if got := wantCode(t, mustPost(t, h, k), http.StatusOK); got != want {
			t.Errorf("%s: %s, want %s", k, got, want)
		}
	}
	expire(t, direct)
	w := mustPost(t, h, "a")
	if got := wantCode(t, w, http.StatusOK); got != "balance 2" || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("after the response has expired: %s", got)
	}
	if n := steps(t, direct, "a"); n != 1 {
		t.Errorf("%d steps", n)
	}
}

// TestDoInTransaction calls the store from a handler that has the gateway's transaction. The
// change would commit on its own, also if the transaction is rolled back.
func TestDoInTransaction(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	s := openWallets(t, direct, true)
	change := versioning.Change{Key: "w", Event: "deposited", Data: int64(1)}
	h := server(t, open(t, poolOf(t, direct), postgres.Config{}), func(w http.ResponseWriter, r *http.Request) {
		for name, do := range map[string]func(context.Context, ...versioning.Change) (versioning.Outcome, error){"Do": s.Do, "Deliver": s.Deliver} {
			_, err := do(r.Context(), change)
			if err == nil || !strings.Contains(err.Error(), "WithoutTransaction") || versioning.CauseOf(err) != versioning.Fatal || errors.Is(err, versioning.ErrFateUnknown) {
				t.Errorf("%s: %v; want a fatal error that names WithoutTransaction", name, err)
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if w, _ := post(t.Context(), h, "a"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := count(t, direct, `SELECT count(*) FROM pawl.transitions WHERE event = 'deposited'`); n != 0 {
		t.Errorf("%d changes were made", n)
	}
}

// TestDoTwoProcesses lets two processes run one request at the same time, as after a lost
// lock: one change is made, and both clients get the answer that was stored first.
func TestDoTwoProcesses(t *testing.T) {
	t.Parallel()
	direct := testenv.Pool(t, migrated)
	s := openWallets(t, direct, true)
	pool := poolOf(t, direct)
	two := server(t, open(t, poolOf(t, direct), postgres.Config{}).WithoutTransaction(), deposit(s, direct))
	var second string
	one := server(t, open(t, pool, postgres.Config{}).WithoutTransaction(), func(w http.ResponseWriter, r *http.Request) {
		deposit(s, direct)(w, r)
		kill(t, direct, pool) // and so the lock
		second = mustPost(t, two, "k").Body.String()
		if _, err := s.Do(context.WithoutCancel(r.Context()), versioning.Change{Key: "w", Event: "deposited", Data: int64(10)}); err != nil {
			t.Error(err)
		}
	})
	first := wantCode(t, mustPost(t, one, "k"), http.StatusOK)
	if first != second || !strings.HasPrefix(first, "balance 1") {
		t.Errorf("the answers are %q and %q", first, second)
	}
	if n := steps(t, direct, "k"); n != 1 {
		t.Errorf("%d steps", n)
	}
}
