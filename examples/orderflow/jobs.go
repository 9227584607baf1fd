package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// riverSchema is the schema of River's tables.
const riverSchema = "orderflow_river"

// startJobs runs River, which runs the jobs, until the caller calls stop. Jobs may run in
// any process: they are in a table.
func startJobs(ctx context.Context, cfg workerConfig, pool *pgxpool.Pool, store *postgres.Store) (stop func(), err error) {
	bank := &bank{cfg.providerURL, &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	limits := &jobs.Provider{Name: "payments", Concurrency: 32, Timeout: cfg.callTimeout}
	workers, err := bank.handlers(store, limits)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(jobs.NewDriver(pool), &river.Config{
		ID:      fmt.Sprintf("%s_%d", cfg.clientID, os.Getpid()),
		Schema:  riverSchema,
		Workers: workers,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4 * limits.Concurrency}},
		Logger:  cfg.logger,

		RetryPolicy:       sooner{},
		FetchPollInterval: 250 * time.Millisecond, // for jobs that are retried; River is notified of new ones

		// Somebody has to look at jobs that were cancelled or discarded.
		CancelledJobRetentionPeriod: 30 * 24 * time.Hour,
		DiscardedJobRetentionPeriod: 30 * 24 * time.Hour,
	})
	if err != nil {
		return nil, err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil { // canceling ctx would cancel calls in flight
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.callTimeout)
		defer cancel()
		if err := client.Stop(ctx); err != nil {
			err = errors.Join(err, client.StopAndCancel(context.WithoutCancel(ctx)))
			cfg.logger.Warn("calls were interrupted; they are made again", "error", err)
		}
		bank.client.CloseIdleConnections()
	}, nil
}

// sooner retries like River, but after a tenth of the time: 0.1 s, 1.6 s, 8 s and so on, for
// two days.
type sooner struct{ river.DefaultClientRetryPolicy }

// NextRetry implements [river.ClientRetryPolicy].
func (s sooner) NextRetry(job *rivertype.JobRow) time.Time {
	now := time.Now()
	return now.Add(s.DefaultClientRetryPolicy.NextRetry(job).Sub(now) / 10)
}
