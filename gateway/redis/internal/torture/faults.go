//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A fault is something that goes wrong repeatedly.
type fault struct {
	name string
	do   func(context.Context) error // causes it and undoes it

	happened int
}

// faults returns those of each kind of server.
func (t *torture) faults() [][]*fault {
	ofPostgres := []*fault{{name: "postgres killed", do: t.killPostgres}, {name: "postgres frozen", do: t.freezePostgres}}
	if t.cfg.Plant == plantForget {
		ofPostgres = append(ofPostgres, &fault{name: "responses forgotten", do: t.forget})
	}
	kinds := [][]*fault{{{name: "backends killed", do: t.killBackend}, {name: "backends frozen", do: t.freezeBackend}}, ofPostgres}
	if !t.cfg.hasRedis() {
		return kinds
	}
	return append(kinds, []*fault{
		{name: "redis killed", do: t.killRedis},
		{name: "redis frozen", do: t.freezeRedis},
		{name: "redis flushed", do: t.flushRedis},
		{name: "redis filled", do: t.fillRedis},
		{name: "redis evicts", do: t.evictRedis},
	})
}

// runFaults runs the faults of each kind of server in a loop of its own, until all requests
// were sent and each fault has happened.
func (t *torture) runFaults(ctx context.Context, kinds [][]*fault, sent <-chan struct{}) error {
	var wait sync.WaitGroup
	errs := make([]error, len(kinds))
	for i, faults := range kinds {
		wait.Go(func() { errs[i] = t.loop(ctx, faults, sent) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (t *torture) loop(ctx context.Context, faults []*fault, sent <-chan struct{}) error {
	for round := 0; ; round++ {
		for _, i := range rand.Perm(len(faults)) {
			if !quiet(ctx, round, sent) {
				return ctx.Err()
			}
			if round > 0 && ended(sent) {
				return nil
			}
			f := faults[i]
			t.log.Debug("fault", "kind", f.name)
			if err := f.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			f.happened++
		}
	}
}

// quiet waits before the next fault, and reports whether ctx is still not done. The faults of
// the first round follow each other quickly, so that a short run has all.
func quiet(ctx context.Context, round int, sent <-chan struct{}) bool {
	longest := 4 * time.Second
	if round == 0 {
		longest = time.Second
	}
	select {
	case <-ctx.Done():
		return false
	case <-sent:
		return round > 0 || pause(ctx, 0, longest/4)
	case <-time.After(longest/8 + rand.N(longest)):
		return true
	}
}

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pause waits for a time between two, and reports whether ctx is still not done.
func pause(ctx context.Context, from, to time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(from + rand.N(to-from)):
		return true
	}
}

func (t *torture) anyBackend() *program { return t.backends[rand.IntN(len(t.backends))] }

func (t *torture) killBackend(ctx context.Context) error {
	b := t.anyBackend()
	b.kill()
	pause(ctx, 0, 300*time.Millisecond)
	if err := b.start(); err != nil {
		return err
	}
	return b.answers(ctx)
}

func (t *torture) freezeBackend(ctx context.Context) error {
	b := t.anyBackend()
	if err := b.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, lease/4, 3*lease)
	return b.signal(syscall.SIGCONT)
}

func (t *torture) killPostgres(ctx context.Context) error {
	if err := t.database.kill(); err != nil {
		return err
	}
	pause(ctx, 0, 300*time.Millisecond)
	return t.database.start()
}

func (t *torture) freezePostgres(ctx context.Context) error {
	if err := t.database.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, lease/4, 2*lease)
	return t.database.signal(syscall.SIGCONT)
}

func (t *torture) killRedis(ctx context.Context) error {
	t.redis.Kill()
	pause(ctx, 0, lease)
	return t.redis.Start(ctx)
}

func (t *torture) freezeRedis(ctx context.Context) error {
	if err := t.redis.Freeze(); err != nil {
		return err
	}
	pause(ctx, lease/4, 2*lease)
	return t.redis.Thaw()
}

func (t *torture) flushRedis(ctx context.Context) error { return t.order(ctx, "FLUSHALL") }

func (t *torture) fillRedis(ctx context.Context) error {
	return t.withSettings(ctx, map[string]string{"maxmemory": "100kb"}, map[string]string{"maxmemory": "0"})
}

func (t *torture) evictRedis(ctx context.Context) error {
	return t.withSettings(ctx,
		map[string]string{"maxmemory": "100kb", "maxmemory-policy": "allkeys-random"},
		map[string]string{"maxmemory": "0", "maxmemory-policy": "noeviction"})
}

// withSettings changes settings of Redis for a while.
func (t *torture) withSettings(ctx context.Context, during, after map[string]string) error {
	for name, value := range during {
		if err := t.order(ctx, "CONFIG", "SET", name, value); err != nil {
			return err
		}
	}
	pause(ctx, 200*time.Millisecond, lease)
	var errs []error
	for name, value := range after {
		errs = append(errs, t.order(ctx, "CONFIG", "SET", name, value))
	}
	return errors.Join(errs...)
}

// forget deletes all stored responses, as if they had expired.
func (t *torture) forget(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, t.database.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, `DELETE FROM pawl.responses`); err != nil || !t.cfg.hasRedis() {
		return err
	}
	return t.flushRedis(ctx)
}

// order runs a command on Redis. The connection may have been cut by an earlier fault.
func (t *torture) order(ctx context.Context, command ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for {
		err := t.admin.Do(ctx, t.admin.B().Arbitrary(command...).Build()).Error()
		if err == nil {
			return nil
		}
		if !pause(ctx, 10*time.Millisecond, 20*time.Millisecond) {
			return err
		}
	}
}
