package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// Environment of the child process that is killed.
const (
	childDatabase = "PAWL_JOBS_DATABASE"
	childBank     = "PAWL_JOBS_BANK"
	childClass    = "PAWL_JOBS_CLASS"
)

var classes = map[string]jobs.Class{"repeatable": jobs.Repeatable, "queryable": jobs.Queryable, "once": jobs.Once}

// bankHandler returns a handler that calls a bank by HTTP.
func bankHandler(url string, class jobs.Class) jobs.Handler[Charge] {
	request := func(ctx context.Context, method string, c jobs.Call[Charge]) ([]versioning.Change, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
		if err != nil {
			return nil, jobs.NotCalled(err)
		}
		req.Header.Set("Idempotency-Key", c.Key)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		id, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, jobs.ResponseError(resp)); err != nil {
			return nil, err
		}
		return jobs.Event("succeeded", charged{string(id)}), nil
	}
	h := jobs.Handler[Charge]{
		Class: class, Unknown: "unknown", Provider: &jobs.Provider{Name: "bank", Timeout: 500 * time.Millisecond},
		Call: func(ctx context.Context, c jobs.Call[Charge]) ([]versioning.Change, error) {
			return request(ctx, http.MethodPost, c)
		},
	}
	if class == jobs.Queryable {
		h.Ask = func(ctx context.Context, c jobs.Call[Charge]) (jobs.Answer, error) {
			changes, err := request(ctx, http.MethodGet, c)
			return jobs.Done(changes...), err
		}
	}
	return h
}

// runChild is the process that is killed: it works jobs until then.
func runChild() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(os.Getenv(childDatabase))
	if err != nil {
		panic(err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = "child"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		panic(err)
	}
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: machineWith(place), Name: "payments"})
	if err != nil {
		panic(err)
	}
	h := bankHandler(os.Getenv(childBank), classes[os.Getenv(childClass)])
	h.Provider.Timeout = time.Minute
	client, err := clientOf(pool, store, h, nil)
	if err == nil {
		err = client.Start(ctx)
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// TestKilled kills a process in the middle of a call that the bank has carried out, also in the
// last attempt.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		class        string
		attempts     int
		state        string
		calls, asked int
	}{
		"repeatable":       {"repeatable", 9, "paid 2 charge1", 2, 0},
		"queryable":        {"queryable", 9, "paid 2 charge1", 1, 1},
		"once":             {"once", 9, "unknown 2 ", 1, 0},
		"repeatable, last": {"repeatable", 1, "unknown 2 ", 1, 0},
		"queryable, last":  {"queryable", 1, "paid 2 charge1", 1, 1},
		"once, last":       {"once", 1, "unknown 2 ", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testenv.Postgres(t, withRiver)
			pool, err := pgxpool.New(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			e := newEnvOn(t, pool, machineWith(place), &river.Config{MaxAttempts: want.attempts})
			b := &bank{}
			called := make(chan struct{}, 1)
			bankServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					b.ask()
				} else if b.call(r.Header.Get("Idempotency-Key")) == 1 {
					called <- struct{}{}
					<-r.Context().Done() // the answer never arrives
					return
				}
				fmt.Fprint(w, "charge1") // the bank does it once for a key
			}))
			defer bankServer.Close()
			defer bankServer.CloseClientConnections()

			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), childDatabase+"="+url, childBank+"="+bankServer.URL, childClass+"="+want.class)
			child.Stderr = os.Stderr
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan error, 1)
			go func() { exited <- child.Wait() }()
			e.place("p1", 1)
			select {
			case <-called:
			case err := <-exited:
				t.Fatalf("the child has ended: %v", err)
			case <-time.After(time.Minute):
				t.Fatal("the child makes no call")
			}
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := <-exited; err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child was not killed: %v", err)
			}
			e.want(jobState, "running")
			// Its last statement may still be under way, and take the job again.
			e.eventually(`SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = 'child' AND datname = current_database()`)
			t.Log("after RescueStuckJobsAfter, River makes the job available, or discards it after the last attempt")
			e.exec(`UPDATE river_job SET state = CASE WHEN attempt < max_attempts THEN 'available' ELSE 'discarded' END::river_job_state,
				finalized_at = CASE WHEN attempt < max_attempts THEN NULL ELSE now() END, scheduled_at = now()`)
			e.want(jobState, "available")
			work(e, bankHandler(bankServer.URL, classes[want.class]))
			e.eventually(jobState, "completed")
			e.want(states, "p1 "+want.state)
			b.wantCalls(t, want.calls, want.asked)
		})
	}
}
