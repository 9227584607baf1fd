//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway/redis/internal/redisserver"
	"github.com/pawl-go/pawl/migrations/migrate"
)

// A torture is one run.
type torture struct {
	cfg config
	log *slog.Logger
	dir string

	database *database
	redis    *redisserver.Server // nil if there is none
	admin    rueidis.Client      // of Redis
	backends []*program
	proxy    *program
	address  string // of the proxy
}

// open starts everything.
func (t *torture) open(ctx context.Context) (err error) {
	if t.dir, err = os.MkdirTemp("", "pawl-gateway-torture-"); err != nil {
		return err
	}
	if err := os.Chmod(t.dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	t.database = &database{script: filepath.Join(t.cfg.scripts, "postgres"), dir: filepath.Join(t.dir, "postgres")}
	if err := t.database.start(); err != nil {
		return err
	}
	if err := prepare(ctx, t.database.url); err != nil {
		return err
	}
	if t.cfg.hasRedis() {
		if err := t.startRedis(ctx); err != nil {
			return err
		}
	}
	var listen [2]string
	for i := range listen {
		if listen[i], err = t.startBackend(); err != nil {
			return err
		}
	}
	if t.proxy, err = startProxy(t.dir, listen); err != nil {
		return err
	}
	t.address = t.proxy.address
	for _, p := range append([]*program{t.proxy}, t.backends...) {
		if err := p.answers(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *torture) startRedis(ctx context.Context) (err error) {
	if t.redis, err = redisserver.Run(ctx); err != nil {
		return err
	}
	t.admin, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{t.redis.Addr}, DisableCache: true, ForceSingleClient: true})
	return err
}

// startBackend starts a backend and returns its address.
func (t *torture) startBackend() (address string, err error) {
	if address, err = freeAddr(); err != nil {
		return "", err
	}
	j := job{SetUp: t.cfg.setUp, Listen: address, Database: t.database.url, Verbose: t.cfg.verbose}
	if t.redis != nil {
		j.Redis = t.redis.Addr
	}
	description, err := json.Marshal(j)
	if err != nil {
		return "", err
	}
	b := &program{path: os.Args[0], env: []string{jobVariable + "=" + string(description)}, address: address}
	t.backends = append(t.backends, b)
	return address, b.start()
}

func prepare(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `CREATE TABLE effects (key text NOT NULL, nonce text NOT NULL);`+storeTables)
	return err
}

func (t *torture) close() error {
	var errs []error
	for _, p := range append([]*program{t.proxy}, t.backends...) {
		if p != nil {
			p.kill()
		}
	}
	if t.admin != nil {
		t.admin.Close()
	}
	if t.redis != nil {
		errs = append(errs, t.redis.Close())
	}
	if t.database != nil {
		errs = append(errs, t.database.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}

// play sends the requests while the faults run, then checks.
func (t *torture) play(ctx context.Context) (ok bool, err error) {
	began := time.Now()
	faults := t.faults()
	l := newLedger(t.cfg.requests)
	l.loses = t.cfg.loses()
	if err := t.sendUnderFaults(ctx, l, faults); err != nil {
		return false, err
	}
	afterFaults := time.Now()
	again(ctx, t, l)
	if t.cfg.Handler == withStore {
		if err := t.forget(ctx); err != nil {
			return false, err
		}
		afterForgetting(ctx, t, l)
	}
	r := result{Backend: t.cfg.Backend, Handler: t.cfg.Handler, Plant: t.cfg.Plant, Seconds: rounded(time.Since(began)), AgainSeconds: rounded(time.Since(afterFaults)), Seed: t.cfg.seed}
	r.Faults = make(map[string]int)
	for _, f := range slices.Concat(faults...) {
		r.Faults[f.name] = f.happened
	}
	violations, err := t.check(ctx, l, &r)
	if err != nil {
		return false, err
	}
	for i, v := range violations {
		if i == 20 {
			fmt.Fprintf(os.Stdout, "and %d more violations\n", len(violations)-i)
			break
		}
		fmt.Fprintln(os.Stdout, "violation:", v)
	}
	r.OK = len(violations) == 0
	return r.OK, json.NewEncoder(os.Stdout).Encode(r)
}

// sendUnderFaults sends all requests. It returns when each has its response, or is stuck, and
// each fault has happened.
func (t *torture) sendUnderFaults(ctx context.Context, l *ledger, faults [][]*fault) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- t.runFaults(ctx, faults, sent) }()
	traffic(ctx, t, l)
	close(sent)
	return <-failed
}

func rounded(d time.Duration) float64 {
	return float64(d.Round(100*time.Millisecond)) / float64(time.Second)
}
