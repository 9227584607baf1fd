package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// An Invoice is the row of an invoice.
type Invoice struct {
	Amount  int64  `db:"amount"`
	Receipt string `db:"receipt"`
}

// Collect is the job that collects the money.
type Collect struct {
	Amount int64 `json:"amount"`
}

// Kind names the job.
func (Collect) Kind() string { return "collect" }

// Collected is what the bank has answered.
type Collected struct {
	Receipt string `json:"receipt"`
}

var invoices = statemachine.MustCompile(statemachine.Definition{
	Name: "invoice", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "issued", To: "open", Do: statemachine.Do(func(f *statemachine.Firing, row *Invoice, amount int64) error {
			row.Amount = amount
			f.Enqueue(Collect{Amount: amount})
			return nil
		})},
		{Event: "collected", From: statemachine.In("open"), To: "paid", Do: statemachine.Do(func(_ *statemachine.Firing, row *Invoice, c Collected) error {
			row.Receipt = c.Receipt
			return nil
		})},
		{Event: "refused", From: statemachine.In("open"), To: "overdue"},
	},
	Terminal: statemachine.In("paid", "overdue"),
})

// newBank starts a bank that is overloaded at first.
func newBank() *httptest.Server {
	calls := 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			fmt.Println("the bank is overloaded")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Println("the bank is asked for", r.URL.Query().Get("amount"))
		w.Header().Set("Receipt", "R-1")
	}))
}

// collect asks the bank for money.
func collect(ctx context.Context, bank string, c jobs.Call[Collect]) ([]versioning.Change, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprint(bank, "?amount=", c.Args.Amount), http.NoBody)
	if err != nil {
		return nil, jobs.NotCalled(err)
	}
	req.Header.Set("Idempotency-Key", c.Key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err // nobody knows
	}
	defer resp.Body.Close()
	switch err := jobs.ResponseError(resp); {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusPaymentRequired:
		return jobs.Event("refused", nil), nil
	}
	return jobs.Event("collected", Collected{Receipt: resp.Header.Get("Receipt")}), nil
}

func createInvoices(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `CREATE TABLE invoices (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL,
		amount bigint NOT NULL, receipt text NOT NULL)`)
	return err
}

// An invoice is issued, which enqueues a job. The job's handler calls the bank, and its answer
// is the event that pays the invoice.
func Example() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres(withRiver) // a database with schema pawl and River's tables
	defer drop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	bank := newBank()
	defer bank.Close()

	queue, err := jobs.NewQueue(nil)
	if err == nil {
		err = createInvoices(ctx, pool)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: invoices, Name: "invoices", Queue: queue})
	if err != nil {
		fmt.Println(err)
		return
	}

	workers := river.NewWorkers()
	err = jobs.Add(workers, store, jobs.Handler[Collect]{
		Class:    jobs.Repeatable, // the bank honours the Idempotency-Key
		Provider: &jobs.Provider{Name: "bank", Concurrency: 10, Rate: 50, Timeout: 10 * time.Second},
		Call: func(ctx context.Context, c jobs.Call[Collect]) ([]versioning.Change, error) {
			return collect(ctx, bank.URL, c)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := river.NewClient(jobs.NewDriver(pool), &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}},
		Logger: slog.New(slog.DiscardHandler), CancelledJobRetentionPeriod: 30 * 24 * time.Hour,
	})
	if err == nil {
		err = client.Start(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	done, stop := client.Subscribe(river.EventKindJobCompleted)
	defer stop()

	issued := versioning.Change{Key: "I-7", Event: "issued", Data: int64(1200), MessageID: "order 7"}
	for range 2 { // the second one is a duplicate, which enqueues nothing
		outcome, err := store.Do(ctx, issued)
		fmt.Println("issued:", outcome.Verdict, err)
	}
	<-done
	var state, receipt string
	err = pool.QueryRow(ctx, `SELECT state, receipt FROM invoices WHERE id = 'I-7'`).Scan(&state, &receipt)
	fmt.Println("the invoice is", state, receipt, err)
	if err := client.Stop(ctx); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// issued: applied <nil>
	// issued: duplicate <nil>
	// the bank is overloaded
	// the bank is asked for 1200
	// the invoice is paid R-1 <nil>
}

// A provider that has no idempotency keys, but a search, is asked before a call is repeated.
func ExampleDone() {
	var search func(ctx context.Context, reference string) (receipt, status string, err error)
	handler := jobs.Handler[Collect]{
		Class: jobs.Queryable,
		Call: func(context.Context, jobs.Call[Collect]) ([]versioning.Change, error) {
			return nil, errors.New("it depends on the provider")
		},
		Ask: func(ctx context.Context, c jobs.Call[Collect]) (jobs.Answer, error) {
			receipt, status, err := search(ctx, c.Key)
			if err != nil {
				return jobs.Answer{}, err
			}
			switch status {
			case "booked":
				return jobs.Done(jobs.Event("collected", Collected{receipt})...), nil
			case "refused":
				return jobs.Done(jobs.Event("refused", nil)...), nil
			case "in progress":
				return jobs.Pending(time.Minute), nil
			}
			return jobs.NotDone(), nil // the call is made again
		},
	}
	fmt.Println(handler.Class, jobs.Add(river.NewWorkers(), &postgres.Store{}, handler))
	// Output: queryable <nil>
}

// The errors of a call say what is known about it.
func ExampleNotCalled() {
	refused := errors.New("connection refused")
	err := fmt.Errorf("dial the bank: %w", jobs.NotCalled(refused)) // retried, whatever the class
	fmt.Println(err, errors.Is(err, refused))
	err = jobs.RetryAfter(err, 5*time.Minute) // not before five minutes have passed
	fmt.Println(err)
	// Output:
	// dial the bank: connection refused true
	// dial the bank: connection refused (wait 5m0s)
}

// An action can store the key under which the provider will know the call.
func ExampleKeyOf() {
	f := statemachine.Firing{Machine: "invoice", Key: "I-7", Version: 1}
	fmt.Println(jobs.KeyOf(f.Machine, f.Key, f.Version, 0)) // of the first job that the action enqueues
	// Output: ea11850e-b60e-81b8-8370-ce1bdcbea0ef
}

// A queue says beforehand which jobs it can't take.
func ExampleQueue_CheckJob() {
	queue, err := jobs.NewQueue(&river.Config{Schema: "river", MaxAttempts: 10})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(queue.CheckJob(Collect{Amount: 5}))
	fmt.Println(queue.CheckJob(river.InsertManyParams{Args: Collect{}, InsertOpts: &river.InsertOpts{Priority: 9}}))
	fmt.Println(queue.CheckJob("collect"))
	// Output:
	// <nil>
	// priority must be between 1 and 4
	// it is neither a river.JobArgs nor a river.InsertManyParams
}

// A deployment creates River's tables before it replaces the workers.
func ExampleMigrateIn() {
	ctx := context.Background()
	url, drop := testenv.ExamplePostgres()
	defer drop()
	fmt.Println(jobs.MigrateIn(ctx, url, "river"), jobs.Migrate(ctx, url))
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	var jobsHere, jobsThere int
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM public.river_job), (SELECT count(*) FROM river.river_job)`).Scan(&jobsHere, &jobsThere)
	fmt.Println(jobsHere, jobsThere, err)
	// Output:
	// <nil> <nil>
	// 0 0 <nil>
}
