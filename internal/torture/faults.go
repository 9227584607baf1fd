package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

const (
	workersKilled  = "workers killed"
	workersFrozen  = "workers frozen"
	postgresKilled = "PostgreSQL killed"
	brokerKilled   = "broker killed"
	failedOver     = "standby promoted"
	restored       = "backup restored"
)

// A span is a range of durations.
type span struct{ from, to time.Duration }

func seconds(from, to float64) span {
	return span{time.Duration(from * float64(time.Second)), time.Duration(to * float64(time.Second))}
}

func (s span) draw() time.Duration { return s.from + rand.N(s.to-s.from) }

// A fault is something that goes wrong repeatedly.
type fault struct {
	name  string
	every span

	// do causes the fault and undoes it before it returns. An error means that
	// it could not.
	do func(context.Context) error

	happened int
}

// faults returns all faults. Each runs in its own loop, so several can happen
// at the same time.
func (t *torture) faults() []*fault {
	return []*fault{
		{name: workersKilled, every: seconds(4, 12), do: t.killWorker},
		{name: "workers stopped", every: seconds(15, 40), do: t.stopWorker},
		{name: workersFrozen, every: seconds(8, 25), do: t.freezeWorker},
		{name: postgresKilled, every: seconds(20, 45), do: t.killPostgres},
		{name: failedOver, every: seconds(15, 40), do: t.failOver},
		{name: restored, every: seconds(20, 50), do: t.restoreBackup},
		{name: brokerKilled, every: seconds(25, 55), do: t.killBroker},
		{name: "links poisoned", every: seconds(1, 5), do: t.poisonLink},
		{name: "links cut", every: seconds(2, 10), do: t.cutLink},
		{name: "pools filled", every: seconds(10, 30), do: t.fillPool},
		{name: "server filled", every: seconds(20, 60), do: t.fillServer},
		{name: "rows locked", every: seconds(3, 12), do: t.lockRows},
		{name: "history locked", every: seconds(15, 40), do: t.lockHistory},
	}
}

// runFaults runs the faults until ctx is done, and returns once all are undone.
func (t *torture) runFaults(ctx context.Context, all []*fault) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var loops sync.WaitGroup
	for _, f := range all {
		loops.Go(func() {
			for sleep(ctx, f.every.draw()) {
				t.log.Debug("fault", "kind", f.name)
				if err := f.do(ctx); err != nil {
					fail(fmt.Errorf("%s: %w", f.name, err))
					return
				}
				f.happened++
			}
		})
	}
	loops.Wait()
	if err := context.Cause(ctx); err != nil && ctx.Err() != err { //nolint:errorlint // does it have a cause other than ctx.Err()?
		return err
	}
	return nil
}

// sleep waits for d, and reports whether ctx is still not done.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (t *torture) anyone() *member { return t.crew[rand.IntN(len(t.crew))] }

func (t *torture) anyLink() link {
	m := t.anyone()
	if rand.IntN(2) == 0 {
		return m.database
	}
	return m.broker
}

func (t *torture) killWorker(ctx context.Context) error {
	m := t.anyone()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kill()
	sleep(ctx, seconds(0, 2).draw())
	return m.start()
}

func (t *torture) stopWorker(ctx context.Context) error {
	m := t.anyone()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.stop(stopWithin); err != nil {
		t.violation(err)
	}
	sleep(ctx, seconds(0, 1).draw())
	return m.start()
}

// freezeWorker makes a zombie: the group gives its partitions to others, and
// then it continues where it was. Sometimes it is killed instead.
func (t *torture) freezeWorker(ctx context.Context) error {
	m := t.anyone()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(context.WithoutCancel(ctx), span{t.cfg.session + time.Second, 2*t.cfg.session + 2*time.Second}.draw())
	if rand.IntN(5) == 0 {
		m.kill()
		return m.start()
	}
	return m.signal(syscall.SIGCONT)
}

func (t *torture) killPostgres(ctx context.Context) error {
	t.database.mu.Lock()
	defer t.database.mu.Unlock()
	defer t.outage()()
	if err := t.database.primary.Kill(); err != nil {
		return err //nolint:wrapcheck // it needs no context
	}
	sleep(ctx, seconds(0, 4).draw())
	return t.database.primary.Restart(context.WithoutCancel(ctx)) //nolint:wrapcheck // as above
}

// failOver replaces PostgreSQL with its standby, with or without the last
// commits.
func (t *torture) failOver(ctx context.Context) error {
	if rand.IntN(3) > 0 {
		if err := t.database.cutOff(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		sleep(ctx, seconds(0.2, 3).draw())
	}
	return t.replace(ctx, t.database.failOver)
}

// restoreBackup replaces PostgreSQL with a backup.
func (t *torture) restoreBackup(ctx context.Context) error {
	if err := t.takeBackup(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	sleep(ctx, seconds(1, 10).draw())
	return t.replace(ctx, t.database.restore)
}

func (t *torture) takeBackup(ctx context.Context) (err error) {
	t.database.mu.Lock()
	defer t.database.mu.Unlock()
	t.database.backup, err = t.database.primary.Backup(ctx)
	return err //nolint:wrapcheck // it needs no context
}

// replace replaces PostgreSQL with another server, points all links to it and
// starts a standby for it.
func (t *torture) replace(ctx context.Context, by func(context.Context) error) error {
	t.database.mu.Lock()
	defer t.database.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if t.database.standby == nil {
		return nil // it did not start, and the fault that has tried it says why
	}
	if err := t.switchTo(ctx, by); err != nil {
		return err
	}
	var err error
	t.database.standby, err = t.database.primary.Standby(ctx)
	return err //nolint:wrapcheck // it needs no context
}

func (t *torture) switchTo(ctx context.Context, by func(context.Context) error) error {
	defer t.outage()()
	if err := by(ctx); err != nil {
		return err
	}
	if err := t.database.lose(ctx); err != nil {
		return err
	}
	for _, m := range t.crew {
		if err := m.database.lead(t.database.address()); err != nil {
			return err
		}
	}
	return nil
}

func (t *torture) killBroker(ctx context.Context) error {
	defer t.outage()()
	if err := t.kafka.kill(); err != nil {
		return err
	}
	sleep(ctx, seconds(0, 3).draw())
	return t.kafka.start()
}

// outage records that a server is down; see [progress].
func (t *torture) outage() (over func()) {
	var all []func()
	for _, tenancy := range t.tenancies {
		all = append(all, tenancy.progress.outage())
	}
	return func() {
		for _, over := range all {
			over()
		}
	}
}
