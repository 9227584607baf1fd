package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDatabase) != "" {
		runChild()
		return
	}
	testenv.Main(m, testenv.CheckLeaks())
}

// Charge is the job of most tests.
type Charge struct {
	Amount int64 `json:"amount"`
}

func (Charge) Kind() string { return "charge" }

type payment struct {
	Amount int64  `db:"amount"`
	Charge string `db:"charge"`
}

type charged struct {
	ID string `json:"id"`
}

// place enqueues what the event says.
func place(f *statemachine.Firing, p *payment, amount int64) error {
	p.Amount = amount
	f.Enqueue(Charge{amount})
	return nil
}

func succeed(_ *statemachine.Firing, p *payment, c charged) error {
	p.Charge = c.ID
	return nil
}

// machineWith returns the machine payment with an action that enqueues.
func machineWith(place func(*statemachine.Firing, *payment, int64) error) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: "payment", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "placed", To: "pending", Do: statemachine.Do(place)},
			{Event: "again", From: statemachine.In("pending"), To: "pending", Do: statemachine.Do(place)},
			{Event: "succeeded", From: statemachine.In("pending"), To: "paid", Do: statemachine.Do(succeed)},
			{Event: "declined", From: statemachine.In("pending"), To: "declined"},
			{Event: "unknown", From: statemachine.In("pending"), To: "unknown"},
			{Event: "settled", From: statemachine.In("paid"), To: "settled"},
		},
		Terminal: statemachine.In("settled", "declined", "unknown"),
	})
}

// withRiver is a database with schema pawl, River's tables and a table payments.
var withRiver = testenv.Template("river", prepare)

func prepare(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE payments (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
		amount bigint NOT NULL, charge text NOT NULL)`)
	return errors.Join(err, conn.Close(ctx), migrate.Up(ctx, url), jobs.Migrate(ctx, url))
}

// An env is a store with a queue.
type env struct {
	*testing.T
	pool  *pgxpool.Pool
	store *postgres.Store
	queue *jobs.Queue
}

func newEnv(t *testing.T, machine *statemachine.Machine, config *river.Config) *env {
	t.Helper()
	return newEnvOn(t, testenv.Pool(t, withRiver), machine, config)
}

func newEnvOn(t *testing.T, pool *pgxpool.Pool, machine *statemachine.Machine, config *river.Config) *env {
	t.Helper()
	queue, err := jobs.NewQueue(config)
	if err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: machine, Name: "payments", Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	return &env{t, pool, store, queue}
}

// place places a payment.
func (e *env) place(key string, amount int64) {
	e.Helper()
	e.do(versioning.Applied, versioning.Change{Key: key, Event: "placed", Data: amount, MessageID: "place " + key})
}

func (e *env) do(want versioning.Verdict, changes ...versioning.Change) versioning.Outcome {
	e.Helper()
	o, err := e.store.Do(e.Context(), changes...)
	if err != nil {
		e.Fatal(err)
	}
	if o.Verdict != want {
		e.Fatalf("%v is %v (%s: %s), want %v", changes, o.Verdict, o.Reason, o.Detail, want)
	}
	return o
}

// work runs a River client with a handler until the end of the test.
func work[A river.JobArgs](e *env, h jobs.Handler[A]) *river.Client[pgx.Tx] {
	e.Helper()
	return workOn(e, e.pool, e.store, h, nil)
}

func workOn[A river.JobArgs](e *env, pool *pgxpool.Pool, store jobs.Store, h jobs.Handler[A], config *river.Config) *river.Client[pgx.Tx] {
	e.Helper()
	client, err := clientOf(pool, store, h, config)
	if err == nil {
		err = client.Start(context.WithoutCancel(e.Context()))
	}
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { stop(e.T, client) })
	return client
}

func stop(t *testing.T, client *river.Client[pgx.Tx]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if err := client.StopAndCancel(ctx); err != nil {
		t.Error(err)
	}
}

// soon is a retry policy for tests.
type soon struct{}

func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(20 * time.Millisecond) }

func clientOf[A river.JobArgs](pool *pgxpool.Pool, store jobs.Store, h jobs.Handler[A], config *river.Config) (*river.Client[pgx.Tx], error) {
	if config == nil {
		config = &river.Config{}
	}
	workers := river.NewWorkers()
	if err := jobs.Add(workers, store, h); err != nil {
		return nil, err
	}
	config.Workers, config.TestOnly, config.RetryPolicy = workers, true, soon{}
	config.FetchCooldown, config.FetchPollInterval = 5*time.Millisecond, 20*time.Millisecond
	if config.Queues == nil {
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}}
	}
	return river.NewClient(jobs.NewDriver(pool), config)
}

// query returns one text per row.
func (e *env) query(sql string, args ...any) []string {
	e.Helper()
	rows, err := e.pool.Query(e.Context(), sql, args...)
	if err != nil {
		e.Fatalf("%s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		e.Fatalf("%s: %v", sql, err)
	}
	return all
}

func (e *env) want(sql string, want ...string) {
	e.Helper()
	if diff := cmp.Diff(want, append([]string(nil), e.query(sql)...)); diff != "" {
		e.Errorf("%s (-want, +got):\n%s", sql, diff)
	}
}

// eventually waits until a query has a result.
func (e *env) eventually(sql string, want ...string) {
	e.Helper()
	testenv.Eventually(e, 20*time.Second, func() error {
		e.Helper()
		if diff := cmp.Diff(want, append([]string(nil), e.query(sql)...)); diff != "" {
			return fmt.Errorf("%s (-want, +got):\n%s", sql, diff)
		}
		return nil
	})
}

func (e *env) exec(sql string, args ...any) {
	e.Helper()
	if _, err := e.pool.Exec(e.Context(), sql, args...); err != nil {
		e.Fatalf("%s: %v", sql, err)
	}
}

const (
	states   = `SELECT id || ' ' || state || ' ' || version || ' ' || charge FROM payments ORDER BY id`
	jobsIn   = `SELECT kind || ' ' || state || ' ' || args FROM river_job ORDER BY id`
	jobState = `SELECT state::text FROM river_job ORDER BY id`
	lastErr  = `SELECT errors[array_length(errors, 1)] ->> 'error' FROM river_job ORDER BY id`
)

// metadata returns a field of the first job's metadata.
func (e *env) metadata(name string) (text string) {
	e.Helper()
	var raw []byte
	if err := e.pool.QueryRow(e.Context(), `SELECT metadata FROM river_job ORDER BY id LIMIT 1`).Scan(&raw); err != nil {
		e.Fatal(err)
	}
	all := make(map[string]json.RawMessage)
	if err := json.Unmarshal(raw, &all); err != nil {
		e.Fatal(err)
	}
	return string(all[name])
}
