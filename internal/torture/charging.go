package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// riverSchema is the schema of River's tables.
func (t tenant) riverSchema() string { return "river_" + string(t) }

// withQueue returns the tenant's tables for a worker.
func (t tenant) withQueue() ([]postgres.Table, error) {
	queue, err := jobs.NewQueue(&river.Config{Schema: t.riverSchema()})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says it all
	}
	tables := t.tables()
	for i := range tables {
		if tables[i].Machine == bills {
			tables[i].Queue = queue
		}
	}
	return tables, nil
}

// riverClient names River's client in a process of a worker.
func riverClient(worker string, pid int) string { return fmt.Sprintf("%s_%d", worker, pid) }

// softStop is how long jobs may go on when the worker stops.
const softStop = 5 * time.Second

// rescueAfter is when River gives up a job whose worker does not end it. It is longer than the
// longest attempt: twice the provider's timeout, and 35 seconds.
const rescueAfter = 2*patience + 38*time.Second

// workJobs starts River, and retries while the database is down. River stops when ctx is canceled;
// wait waits for that.
func (j job) workJobs(ctx context.Context, pool *pgxpool.Pool, store *postgres.Store, log *slog.Logger) (wait func(), err error) {
	config, err := j.river(store, log)
	if err != nil {
		return nil, err
	}
	for {
		client, err := river.NewClient(jobs.NewDriver(pool), config)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says it all
		}
		if err = client.Start(ctx); err == nil {
			return func() { <-client.Stopped() }, nil
		}
		if ctx.Err() != nil {
			return nil, err //nolint:wrapcheck // as above
		}
		log.Warn("retrying to start River", "err", err)
		time.Sleep(200 * time.Millisecond)
	}
}

// river returns the configuration of River.
func (j job) river(store *postgres.Store, log *slog.Logger) (*river.Config, error) {
	workers := river.NewWorkers()
	c := &caller{j.ProviderURL + "/" + string(j.Tenant), &http.Client{Transport: &http.Transport{}}}
	limits := &jobs.Provider{Name: "provider", Timeout: patience}
	err := errors.Join(
		jobs.Add(workers, store, jobs.Handler[charge]{Class: jobs.Repeatable, Provider: limits, Call: c.charge, Logger: log}),
		jobs.Add(workers, store, jobs.Handler[fee]{Class: jobs.Queryable, Provider: limits, Call: c.fee, Ask: c.askFee, Logger: log}),
	)
	return &river.Config{
		ID:      riverClient(j.Name, os.Getpid()),
		Schema:  j.Tenant.riverSchema(),
		Workers: workers,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}},
		Logger:  log,

		FetchPollInterval:    250 * time.Millisecond,
		RetryPolicy:          soon{},
		JobTimeout:           rescueAfter,
		RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout:      softStop,
	}, err
}

// soon retries jobs soon.
type soon struct{}

// NextRetry implements [river.ClientRetryPolicy].
func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(300 * time.Millisecond) }

// A caller calls the provider for a tenant.
type caller struct {
	url    string
	client *http.Client
}

func (c *caller) charge(ctx context.Context, call jobs.Call[charge]) ([]versioning.Change, error) {
	return c.take(ctx, asked{Key: call.Key, Amount: call.Args.Amount}, call.Entity, call.Version, call.Row)
}

func (c *caller) fee(ctx context.Context, call jobs.Call[fee]) ([]versioning.Change, error) {
	return c.take(ctx, asked{Key: call.Key, Amount: call.Args.Amount}, call.Entity, call.Version, call.Row)
}

func (c *caller) take(ctx context.Context, a asked, of versioning.Entity, version int64, row *rivertype.JobRow) ([]versioning.Change, error) {
	a.Kind, a.Entity, a.Fetched = row.Kind, of.Key, *row.AttemptedAt
	body, err := json.Marshal(a)
	if err != nil {
		return nil, jobs.NotCalled(err)
	}
	status, id, err := c.do(ctx, http.MethodPost, "/"+row.Kind, body)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK:
		return nil, river.JobCancel(fmt.Errorf("the provider answers with status %d", status))
	}
	return []versioning.Change{resultOf(version, a.Amount, id)}, nil
}

// askFee asks the provider whether it has taken a fee.
func (c *caller) askFee(ctx context.Context, call jobs.Call[fee]) (jobs.Answer, error) {
	status, id, err := c.do(ctx, http.MethodGet, "/"+call.Row.Kind+"/"+call.Key, nil)
	switch {
	case err != nil:
		return jobs.Answer{}, err
	case status == http.StatusNotFound:
		return jobs.NotDone(), nil
	case status != http.StatusOK:
		return jobs.Answer{}, river.JobCancel(fmt.Errorf("the provider answers with status %d", status))
	}
	return jobs.Done(resultOf(call.Version, call.Args.Amount, id)), nil
}

func (c *caller) do(ctx context.Context, method, path string, body []byte) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", jobs.NotCalled(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return 0, "", err //nolint:wrapcheck // it says it all
	}
	defer func() { _ = response.Body.Close() }() // it was read, or is of no use
	if err := jobs.ResponseError(response); err != nil {
		return 0, "", err //nolint:wrapcheck // as above
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err //nolint:wrapcheck // as above
}
