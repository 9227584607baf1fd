package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	store "github.com/pawl-go/pawl/versioning/postgres"
)

// connect returns a pool for a new database.
func connect(ctx context.Context) (pool *pgxpool.Pool, drop func()) {
	url, dropDatabase := testenv.ExamplePostgres(migrated)
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		panic(err)
	}
	return pool, func() { pool.Close(); dropDatabase() }
}

// serve sends requests with these keys to a handler and prints the answers.
func serve(b gateway.Backend, handle http.HandlerFunc, keys ...string) {
	g, err := gateway.New(gateway.Config{
		Backend: b,
		Tenant:  func(*http.Request) string { return "acme" }, // one tenant; others authenticate
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST /orders", g.Handler(handle))
	for _, key := range keys {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader("a book"))
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
}

// A handler writes in the transaction in which its response is stored.
func ExampleTx() {
	ctx := context.Background()
	pool, drop := connect(ctx)
	defer drop()
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	serve(backend, func(w http.ResponseWriter, r *http.Request) {
		var id int
		err := postgres.Tx(r.Context()).QueryRow(r.Context(), `INSERT INTO effects (what) VALUES ('order') RETURNING n`).Scan(&id)
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable) // rolled back
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "order ", id)
	}, `"8e03978e"`, `"8e03978e"`, `"40d5a1c2"`)
	// Output:
	// 201 order 1
	// 201 order 1
	// 201 order 2
}

// A handler that changes an entity through Store.Do gives the change the request's message
// ID, and answers from the row. It may run again: after a crash, or when the stored response
// has expired. The history then proves that the change was made.
func ExampleBackend_WithoutTransaction() {
	ctx := context.Background()
	pool, drop := connect(ctx)
	defer drop()
	if _, err := pool.Exec(ctx, `CREATE TABLE wallets (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, balance bigint NOT NULL DEFAULT 0)`); err != nil {
		fmt.Println(err)
		return
	}
	s, err := store.Open(ctx, pool, store.Table{Machine: wallets, Name: "wallets"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := s.Do(ctx, versioning.Change{Key: "w", Event: "opened"}); err != nil {
		fmt.Println(err)
		return
	}
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	deposit := func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		outcome, err := s.Do(ctx, versioning.Change{Key: "w", Event: "deposited", Data: int64(5), MessageID: gateway.MessageID(ctx)})
		var balance int64
		if err == nil {
			err = pool.QueryRow(ctx, `SELECT balance FROM wallets WHERE id = 'w'`).Scan(&balance)
		}
		switch {
		case err != nil: // released, so the retry asks again, with the same message ID
			gateway.WriteProblem(w, gateway.Problem{Status: http.StatusServiceUnavailable})
		case outcome.Verdict == versioning.Applied, outcome.Verdict == versioning.Duplicate:
			fmt.Fprint(w, "the balance is ", balance)
		default:
			gateway.WriteProblem(w, gateway.Problem{Status: http.StatusConflict, Detail: outcome.Detail})
		}
	}
	serve(backend.WithoutTransaction(), deposit, `"a"`, `"a"`, `"b"`)
	if _, err := pool.Exec(ctx, `UPDATE pawl.responses SET expires_at = now()`); err != nil { // a day has passed
		fmt.Println(err)
		return
	}
	serve(backend.WithoutTransaction(), deposit, `"a"`)
	// Output:
	// 200 the balance is 5
	// 200 the balance is 5
	// 200 the balance is 10
	// 200 the balance is 10
}

// The role's rights are checked when the backend is opened.
func ExampleOpen() {
	ctx := context.Background()
	pool, drop := connect(ctx)
	defer drop()
	_, err := postgres.Open(ctx, pool, postgres.Config{MaxRunning: -1})
	fmt.Println(err != nil, errors.Is(err, postgres.ErrRights))
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	fmt.Println(backend != nil, err)
	// Output:
	// true false
	// true <nil>
}

// The middleware calls Begin. A key is claimed by one request at a time.
func ExampleBackend_Begin() {
	ctx := context.Background()
	pool, drop := connect(ctx)
	defer drop()
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	key := gateway.Key{Tenant: "acme", Route: "POST /orders", Value: "8e03978e"}
	run, _, err := backend.Begin(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = backend.Begin(ctx, key)
	fmt.Println(err)
	fmt.Println(run.Finish(ctx, gateway.Result{Response: []byte("created")}))
	_, stored, err := backend.Begin(ctx, key)
	fmt.Println(string(stored), err)
	// Output:
	// a request with the same key is running
	// <nil>
	// created <nil>
}

// A job deletes what has expired.
func ExampleBackend_Sweep() {
	ctx := context.Background()
	pool, drop := connect(ctx)
	defer drop()
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	serve(backend, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") }, "a", "b")
	if _, err := pool.Exec(ctx, `UPDATE pawl.responses SET expires_at = now()`); err != nil { // a day has passed
		fmt.Println(err)
		return
	}
	fmt.Println(backend.Sweep(ctx))
	// Output:
	// 200 done
	// 200 done
	// 2 <nil>
}

// Each server may sweep, in the background.
func ExampleBackend_Run() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	pool, drop := connect(ctx)
	defer drop()
	backend, err := postgres.Open(ctx, pool, postgres.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	stop() // the server shuts down
	fmt.Println(backend.Run(ctx, func(err error) { fmt.Println("sweep:", err) }))
	// Output: <nil>
}
