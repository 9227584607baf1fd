package embedded

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A process is a running program that a goroutine waits for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and err is set
	err  error
}

// spawn starts cmd and waits for it in the background.
//
// The kernel kills the program when the thread that started it ends, so spawn
// locks one thread for both as long as the program runs.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// wait waits until the program has ended. If ctx is done first, it kills the
// program.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
}

// kill kills the program and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if the program has already ended
	<-p.done
}

// stop sends sig to the program, and kills it if ctx is done first.
func (p *process) stop(ctx context.Context, sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.kill() // it has already ended, or the system has no such signal
		return
	}
	_ = p.wait(ctx) // how it ended does not matter
}

// while returns a context that is canceled when the program ends. Without it a
// client could wait forever for another process that listens on the port.
func (p *process) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// command returns a command that runs as the account and writes to log.
func command(a *account, log *os.File, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...) //nolint:noctx // the program outlives the call that starts it
	cmd.Dir = dir
	// A fixed time zone saves initdb the search for the machine's.
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(a)
	return cmd
}
