package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A job configures a worker's process. It is passed in the environment.
type job struct {
	Name           string
	Tenant         tenant
	Broker         string // a proxy's address
	DatabaseURL    string
	ProviderURL    string
	Protocol       consumer.Protocol
	SessionTimeout time.Duration
}

const (
	jobVariable     = "PAWL_TORTURE_JOB"
	poolConnections = 8

	// poolHold is how long a worker holds all of its connections after SIGUSR1.
	poolHold = 4 * time.Second
)

// A report is a line that a worker writes for each batch: for each partition,
// the offset after its last settled record.
type report struct {
	Records int             `json:"records"`
	Next    map[int32]int64 `json:"next"`
}

// work runs the worker in its process. It exits when the parent process does.
func work(description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return fmt.Errorf("%s: %w", jobVariable, err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("worker", j.Name)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // how it ended does not matter
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fill := make(chan os.Signal, 1)
	signal.Notify(fill, syscall.SIGUSR1)
	out := &reporter{out: bufio.NewWriter(os.Stdout)}
	out.write(report{}) // handles signals from here on

	config, err := pgxpool.ParseConfig(j.DatabaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	config.MaxConns = poolConnections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	defer pool.Close()
	go fillPool(ctx, pool, fill)

	store, err := j.openStore(ctx, pool, log)
	if ctx.Err() != nil {
		return nil // stopped before it could start
	}
	if err != nil {
		return err
	}
	worker, err := consumer.New(consumer.Config{
		Client:       j.client(),
		Group:        j.Tenant.group(),
		Topics:       []string{j.Tenant.topic()},
		Store:        j.consumed(store),
		Decode:       decode,
		Protocol:     j.Protocol,
		ApplyTimeout: 5 * time.Second,
		RetryMax:     time.Second,
		SweepEvery:   2 * time.Second,
		StalledAfter: 10 * time.Second,
		Logger:       log,

		TransactionalID: j.Tenant.transactionalID(),
		Hooks:           []consumer.Hook{out},
	})
	if err != nil {
		return err //nolint:wrapcheck // it needs no context
	}
	wait, err := j.workJobs(ctx, pool, store, log)
	if ctx.Err() != nil && err != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer wait()
	return worker.Run(ctx) //nolint:wrapcheck // as above
}

// openStore opens the store and retries while the database is down, as a
// supervisor that restarts the worker would.
func (j job) openStore(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) (*postgres.Store, error) {
	tables, err := j.Tenant.withQueue()
	if err != nil {
		return nil, err
	}
	for {
		store, err := postgres.OpenIn(ctx, pool, j.Tenant.pawl().String(), tables...)
		if err == nil || versioning.CauseOf(err) == versioning.Fatal || ctx.Err() != nil {
			return store, err //nolint:wrapcheck // it needs no context
		}
		log.Warn("retrying to open the store", "err", err)
		time.Sleep(200 * time.Millisecond)
	}
}

// client returns the options of a client that reaches every broker through a
// proxy.
func (j job) client() []kgo.Opt {
	var dialer net.Dialer
	opts := []kgo.Opt{
		kgo.SeedBrokers(j.Broker),
		kgo.ClientID(j.Name),
		kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, j.Broker)
		}),
	}
	if j.Protocol == consumer.Classic { // with KIP-848 the broker decides
		opts = append(opts, kgo.SessionTimeout(j.SessionTimeout), kgo.HeartbeatInterval(j.SessionTimeout/6))
	}
	return opts
}

// fillPool takes all connections of the pool when signaled.
func fillPool(ctx context.Context, pool *pgxpool.Pool, when <-chan os.Signal) {
	for range when {
		hold, cancel := context.WithTimeout(ctx, poolHold)
		var all sync.WaitGroup
		for range poolConnections {
			all.Go(func() {
				if conn, err := pool.Acquire(hold); err == nil {
					<-hold.Done()
					conn.Release()
				}
			})
		}
		all.Wait()
		cancel()
	}
}

// A reporter writes a line for each batch.
type reporter struct{ out *bufio.Writer }

// BatchEnd implements [consumer.BatchEndHook].
func (r *reporter) BatchEnd(_ context.Context, b consumer.Batch) {
	rep := report{Records: len(b.Records), Next: make(map[int32]int64)}
	for i, record := range b.Records {
		if b.Outcomes[i].Verdict != versioning.Undecided {
			rep.Next[record.Origin.Partition] = max(rep.Next[record.Origin.Partition], record.Origin.Offset+1)
		}
	}
	r.write(rep)
}

func (r *reporter) write(rep report) {
	_ = json.NewEncoder(r.out).Encode(rep) // the parent notices a missing report
	_ = r.out.Flush()
}
