//go:build unix

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/gateway/redis"
)

// jobVariable holds the description of a backend, if this process is one.
const jobVariable = "PAWL_GATEWAY_TORTURE"

// lease is that of the locks in Redis. Freezes and slow handlers last longer.
const lease = time.Second

// A job describes a backend.
type job struct {
	SetUp                   setUp
	Listen, Redis, Database string
	Verbose                 bool
}

// work is a backend. It runs until it is killed.
func work(description string) error {
	var j job
	if err := json.Unmarshal([]byte(description), &j); err != nil {
		return err
	}
	ctx := context.Background()
	b, handler, err := j.open(ctx)
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Config{
		Backend:       b,
		Tenant:        func(r *http.Request) string { return r.Header.Get("Tenant") },
		FinishTimeout: 3 * time.Second,
		Stores:        j.SetUp.stores,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payments", g.Handler(handler))
	listener, err := net.Listen("tcp", j.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	return server.Serve(listener)
}

// open opens the backend of the gateway and the handler. It waits for servers that are down.
func (j job) open(ctx context.Context) (gateway.Backend, http.Handler, error) {
	config, err := pgxpool.ParseConfig(j.Database)
	if err != nil {
		return nil, nil, err
	}
	config.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	b, err := j.openBackend(ctx, pool)
	if err != nil {
		return nil, nil, err
	}
	if j.SetUp.Handler == withTx {
		return b, pay(j.SetUp, pool), nil
	}
	h, err := openPayer(ctx, j.SetUp, pool)
	return b, h, err
}

func (j job) openBackend(ctx context.Context, pool *pgxpool.Pool) (gateway.Backend, error) {
	log := slog.New(slog.DiscardHandler)
	if j.Verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	switch j.SetUp.Backend {
	case onPostgres:
		return j.openPostgres(ctx, pool)
	case onRedis:
		return j.openRedis(ctx, log)
	}
	decider, err := j.openPostgres(ctx, pool)
	if err != nil {
		return nil, err
	}
	fast, err := j.openRedis(ctx, log)
	if err != nil {
		return nil, err
	}
	return redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider, Cooldown: 200 * time.Millisecond, Logger: log})
}

// openPostgres opens a backend that gives handlers a transaction if they use it.
func (j job) openPostgres(ctx context.Context, pool *pgxpool.Pool) (gateway.Backend, error) {
	b, err := patiently(func() (*postgres.Backend, error) {
		return postgres.Open(ctx, pool, postgres.Config{MaxRunning: 20, QueueTimeout: time.Second, IdleTimeout: 2 * time.Second})
	})
	switch {
	case err != nil:
		return nil, err
	case j.SetUp.Handler == withTx:
		return b, nil
	}
	return b.WithoutTransaction(), nil
}

func (j job) openRedis(ctx context.Context, log *slog.Logger) (*redis.Backend, error) {
	return patiently(func() (*redis.Backend, error) {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{j.Redis}, DisableCache: true, ForceSingleClient: true})
		if err != nil {
			return nil, err
		}
		return redis.Open(ctx, redis.Config{Client: client, Lease: lease, Timeout: 200 * time.Millisecond, CheckEvery: 500 * time.Millisecond, Logger: log})
	})
}

// patiently calls open until it succeeds.
func patiently[T any](open func() (T, error)) (T, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		opened, err := open()
		if err == nil || time.Now().After(deadline) {
			return opened, err
		}
	}
}
