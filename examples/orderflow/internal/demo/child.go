package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
)

// A child is a worker in a separate process, so that the kernel can kill it at
// any point of its work.
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
	cmd.Stderr = c.stage.screen.logs()
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
