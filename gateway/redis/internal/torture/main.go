//go:build unix

// Command torture sends requests with retries through HAProxy to handlers behind package
// gateway, with Redis in front of PostgreSQL, while all of them fail, and then checks the
// promise: each request takes effect once, each repeat gets the first response byte for
// byte, and no key is stuck.
//
// It starts PostgreSQL with fsync, Redis, HAProxy with the configuration of
// docs/gateways.md, and two backends, each a separate process. It kills and freezes the
// backends, PostgreSQL and Redis, and flushes, fills and evicts Redis, again and again, at
// random. Meanwhile clients with a short timeout send each request until they have its
// response, some of them twice at the same time, and then again. Some handlers refuse the
// request, fail after they have written, or take longer than the lease and the timeouts.
//
// A ledger has what was sent and what came back. At the end it must agree with the table
// that the handlers write.
//
//	make gateway-torture REQUESTS=100000
//
// The last line is a JSON object. The exit status is 1 if the promise was broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"
)

type config struct {
	requests int
	clients  int
	seed     uint64
	scripts  string
	verbose  bool
}

func main() {
	if description, ok := os.LookupEnv(jobVariable); ok {
		if err := work(description); err != nil {
			fmt.Fprintln(os.Stderr, "backend:", err)
			os.Exit(1)
		}
		return
	}
	var cfg config
	flag.IntVar(&cfg.requests, "requests", 100_000, "how many requests, without their repeats")
	flag.IntVar(&cfg.clients, "clients", 64, "how many are sent at a time")
	flag.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()), "seed of the traffic; the faults are always random")
	flag.StringVar(&cfg.scripts, "scripts", ".ci", "directory of the script that starts PostgreSQL")
	flag.BoolVar(&cfg.verbose, "v", false, "log each fault and what the backends log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
	}
	if !ok || err != nil {
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, cfg config) (ok bool, err error) {
	level := slog.LevelWarn
	if cfg.verbose {
		level = slog.LevelDebug
	}
	t := &torture{cfg: cfg, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.open(ctx); err != nil {
		return false, err
	}
	return t.play(ctx)
}
