//go:build unix

// Command torture sends requests with retries through HAProxy to handlers behind package
// gateway, while everything behind it fails, and then checks the promise: each request takes
// effect once, each repeat gets the first response byte for byte, and no key is stuck.
//
// It starts PostgreSQL with fsync, Redis, HAProxy with the configuration of
// docs/gateways.md, and two backends, each a separate process. It kills and freezes the
// backends, PostgreSQL and Redis, and flushes, fills and evicts Redis, again and again, at
// random. Meanwhile clients with a short timeout send each request until they have its
// response, some of them twice at the same time, and then again. Some handlers refuse the
// request, fail after they have written, or take longer than the lease and the timeouts.
//
// A ledger has what was sent and what came back. At the end it must agree with what the
// handlers have written.
//
//	make gateway-torture REQUESTS=100000 BACKEND=hybrid HANDLER=tx
//
// The last line is a JSON object. The exit status is 1 if the promise was broken.
//
// # Set-ups
//
// -backend says what keeps the keys: PostgreSQL with Redis in front of it (hybrid), PostgreSQL
// alone, or Redis alone. The handlers write to PostgreSQL in any case. -handler says how: tx
// writes a row in the gateway's transaction; store changes two entities, a payment that the
// request creates and a wallet that requests share, in one call of Store.Do, and answers from
// the payment's row. Store.Do refuses the gateway's transaction, so with -handler store the
// gateway has none (Backend.WithoutTransaction). With -backend redis there is never one.
//
//	backend            handler  once, because of        the first response byte for byte
//	hybrid, postgres   tx       the transaction         as long as it is stored
//	hybrid, postgres   store    the history, for ever   as long as it is stored
//	redis              store    the history, for ever   as far as it comes from the row
//
// "As long as it is stored" is checked with a header (Etag) that is random for each run of the
// handler: all answers have the one that was stored first. Redis alone loses responses when it
// is killed or flushed. Then the handler runs again, Store.Do returns Duplicate, and the
// handler answers from the row. Status, Location, Content-Type and body must be as before,
// because nobody else writes the row; the Etag may be another. With rows that others write,
// the answer is what the row says by then.
//
// A refusal (402) leaves no history. It is repeated because the machine refuses the request
// again, and once Redis has lost it, the key is free for another request.
//
// With -handler store, all responses are deleted at the end, as if they had expired. Each
// twentieth request is repeated once more. Half of those that took effect are preceded by
// another request with the same key: it must be refused, and the first one must still get its
// answer.
//
// # Planted violations
//
// -plant breaks the promise on purpose, and the run must report it:
//
//	outside     tx              the handler writes outside of the gateway's transaction
//	forget      tx, store       stored responses are deleted while requests are sent (not redis)
//	message-id  store           each attempt has another message ID
//	answer      store           the answer has something that is not from the row
//	refusal     store           the refusal of another request with a used key is stored
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
	setUp

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
	flag.StringVar(&cfg.Backend, "backend", onHybrid, "what keeps the keys: hybrid, postgres or redis")
	flag.StringVar(&cfg.Handler, "handler", withTx, "how handlers write: tx, in the gateway's transaction, or store, through Store.Do")
	flag.StringVar(&cfg.Plant, "plant", "", "break the promise on purpose: outside, forget, message-id, answer or refusal")
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
	if err := cfg.validate(); err != nil {
		return false, err
	}
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
