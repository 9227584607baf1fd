package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
)

// A crew is the workers of one run. If one of them fails, the crew's context is canceled
// with that error as its cause.
type crew struct {
	ctx    context.Context // a crew does not outlive the call that created it
	fail   context.CancelCauseFunc
	stage  *stage
	group  string
	inside sync.WaitGroup
}

func newCrew(ctx context.Context, s *stage, group string) *crew {
	ctx, fail := context.WithCancelCause(ctx)
	return &crew{ctx: ctx, fail: fail, stage: s, group: group}
}

func (c *crew) job(name string) Job {
	s := c.stage
	return Job{
		Name: name, Brokers: s.brokers, DatabaseURL: s.databaseURL, Topic: topic, Group: c.group,
		SessionTimeout: s.cfg.SessionTimeout, Logger: s.logger().With("worker", name),
	}
}

// startWorker starts a worker in this process and returns the tally of its verdicts.
func (c *crew) startWorker(name string) *tally {
	t := newTally()
	job := c.job(name)
	job.Hook = t
	c.inside.Go(func() {
		if err := c.stage.cfg.Work(c.ctx, job); err != nil && !errors.Is(err, context.Canceled) {
			c.fail(fmt.Errorf("worker %s: %w", name, err))
		}
	})
	return t
}

// stopWorkers stops the workers of this process and waits for them.
func (c *crew) stopWorkers() {
	c.fail(context.Canceled)
	c.inside.Wait()
}

// A child is a worker in a separate process, so that the kernel can kill it at any point of
// its work.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer // closing it ends the process, so it cannot outlive the demo
	killed atomic.Bool
	ended  chan struct{}
}

var errEnded = errors.New("the process exited unexpectedly")

// spawn starts a worker in a separate process.
func (c *crew) spawn(name string) (*child, error) {
	job := c.job(name)
	program, args := c.stage.cfg.Command(job)
	cmd := exec.Command(program, args...) //nolint:gosec,noctx // the demo's own program; kill ends it
	cmd.Env = append(os.Environ(), "DATABASE_URL="+job.DatabaseURL)
	cmd.Stderr = c.stage.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("worker %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("worker %s: start its process: %w", name, err)
	}
	ch := &child{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(ch.ended)
		err := cmd.Wait()
		if !ch.killed.Load() {
			c.fail(fmt.Errorf("worker %s: %w", name, errors.Join(errEnded, err)))
		}
	}()
	return ch, nil
}

func (ch *child) pid() int { return ch.cmd.Process.Pid }

// kill kills the process, as kill -9 does, and waits until it is gone.
func (ch *child) kill() {
	ch.killed.Store(true)
	_ = ch.cmd.Process.Kill() // fails only if it has already ended
	<-ch.ended
	_ = ch.stdin.Close()
}
