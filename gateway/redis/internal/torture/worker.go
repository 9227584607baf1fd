//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
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
	b, err := j.open(ctx)
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Config{
		Backend:       b,
		Tenant:        func(r *http.Request) string { return r.Header.Get("Tenant") },
		FinishTimeout: 3 * time.Second,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payments", g.Handler(http.HandlerFunc(pay)))
	listener, err := net.Listen("tcp", j.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	return server.Serve(listener)
}

// open opens the backend of the gateway. It waits for servers that are down.
func (j job) open(ctx context.Context) (gateway.Backend, error) {
	log := slog.New(slog.DiscardHandler)
	if j.Verbose {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	config, err := pgxpool.ParseConfig(j.Database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	decider, err := patiently(func() (*postgres.Backend, error) {
		return postgres.Open(ctx, pool, postgres.Config{MaxRunning: 20, QueueTimeout: time.Second, IdleTimeout: 2 * time.Second})
	})
	if err != nil {
		return nil, err
	}
	fast, err := patiently(func() (*redis.Backend, error) {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{j.Redis}, DisableCache: true, ForceSingleClient: true})
		if err != nil {
			return nil, err
		}
		return redis.Open(ctx, redis.Config{Client: client, Lease: lease, Timeout: 200 * time.Millisecond, CheckEvery: 500 * time.Millisecond, Logger: log})
	})
	if err != nil {
		return nil, err
	}
	return redis.NewHybrid(redis.HybridConfig{Redis: fast, Decider: decider, Cooldown: 200 * time.Millisecond, Logger: log})
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

// A payment is the body of a request.
type payment struct {
	ID     string `json:"id"`
	Refuse bool   `json:"refuse"`
	Pad    int    `json:"pad"` // how long the response is
}

// pay writes a row with a random number, which is also in the response.
func pay(w http.ResponseWriter, r *http.Request) {
	var p payment
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	nonce := rand.Text()
	if _, err := postgres.Tx(r.Context()).Exec(r.Context(), `INSERT INTO effects (key, nonce) VALUES ($1, $2)`, p.ID, nonce); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	switch n := mathrand.N(100); {
	case n < 3:
		http.Error(w, "failed after it has written", http.StatusInternalServerError)
		return
	case n < 4:
		time.Sleep(mathrand.N(2*lease) + lease/2)
	}
	w.Header().Set("Location", "/payments/"+nonce)
	w.Header().Set("Content-Type", "text/plain")
	status := http.StatusCreated
	if p.Refuse {
		status = http.StatusPaymentRequired
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s %s %s", p.ID, nonce, strings.Repeat("x", p.Pad))
}
