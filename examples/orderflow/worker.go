package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/jobs"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A workerConfig configures a worker.
type workerConfig struct {
	brokers     []string
	databaseURL string
	topic       string
	group       string
	clientID    string
	terms       Terms

	// providerURL is the payment provider, and callTimeout how long it may take to answer.
	providerURL string
	callTimeout time.Duration

	// sessionTimeout is how long the group waits for a silent worker before it
	// gives its partitions to others. 0 means the client's default, 45 seconds.
	sessionTimeout time.Duration

	// maxBatch limits the number of records in a batch. 0 means the consumer's default.
	maxBatch int

	// listen is the address for the worker's health endpoints and metrics. Empty
	// means none.
	listen string

	// countEvery is how often parked records and dead letters are counted for the
	// metrics. 0 means the observer's default.
	countEvery time.Duration

	logger *slog.Logger
	hooks  []consumer.Hook
}

// work runs one worker until ctx is done: it consumes orders, calls the provider,
// fires the timers and publishes the shipments. Any number of workers, in any
// number of processes, share the work.
func work(ctx context.Context, cfg workerConfig) error {
	pool, err := openPool(ctx, cfg.databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := openStore(ctx, pool, cfg.terms)
	if err != nil {
		return err
	}
	monitor, err := newMonitor(cfg, store)
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client: cfg.client(),
		Group:  cfg.group,
		Topics: []string{cfg.topic},
		Store:  store,
		Decode: decode,
		Logger: cfg.logger,
		Hooks:  append(cfg.hooks, monitor),

		MaxBatch: cfg.maxBatch,
	})
	if err != nil {
		return err
	}
	stopJobs, err := startJobs(ctx, cfg, pool, store)
	if err != nil {
		return err
	}
	defer stopJobs()
	if cfg.listen != "" {
		stop, err := monitor.serve(ctx, cfg, worker)
		if err != nil {
			return err
		}
		defer stop()
	}
	return worker.Run(ctx)
}

// openStore opens the store of the orders and their payments. Each of the
// tables has the queue for the jobs that its transitions enqueue. FoldSteps
// writes all steps of an order in a batch at once: that is safe, because its
// CHECK is about the total, which only the first step sets.
func openStore(ctx context.Context, pool *pgxpool.Pool, terms Terms) (*postgres.Store, error) {
	queue, err := newQueue()
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, pool, tables(terms, queue)...)
}

func newQueue() (*jobs.Queue, error) { return jobs.NewQueue(&river.Config{Schema: riverSchema}) }

func tables(terms Terms, queue postgres.OutputWriter) []postgres.Table {
	return []postgres.Table{
		{Machine: orderMachine(terms), Name: "orderflow.orders", Queue: queue, FoldSteps: true, PassHeaders: versioning.TraceHeaders()},
		{Machine: Payment, Name: "orderflow.payments", Queue: queue},
	}
}

// minConnections is what a worker needs: for batches, for the results of calls, and for
// River, which holds one. The relay has connections of its own.
const minConnections = 10

func openPool(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", cmp.Or(errors.Unwrap(err), errors.New("one of its settings is not valid")))
	}
	config.MaxConns = max(config.MaxConns, minConnections)
	return pgxpool.NewWithConfig(ctx, config)
}

// client returns the options of the Kafka client. Add TLS and SASL here.
func (cfg workerConfig) client() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.brokers...),
		kgo.ClientID(cfg.clientID),
	}
	if cfg.sessionTimeout > 0 {
		opts = append(opts,
			kgo.SessionTimeout(cfg.sessionTimeout),
			kgo.HeartbeatInterval(cfg.sessionTimeout/6))
	}
	return opts
}
