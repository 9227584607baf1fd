package embedded

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A process is a program that was started and is being waited for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the program has ended and err is set
	err  error
}

// spawn starts cmd and waits for it in the background.
//
// The kernel ends the program when the thread that started it ends, so one
// thread is kept for both, as long as the program runs.
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

// wait waits until the program has ended. If ctx ends first the program is
// killed.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
}

// kill ends the program at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if the program has ended already
	<-p.done
}

// stop asks the program to end by sig and kills it if ctx ends first.
func (p *process) stop(ctx context.Context, sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.kill() // it has ended already, or the system has no such signal
		return
	}
	_ = p.wait(ctx) // how it ended says nothing more
}

// while returns a context that ends when the program does: whatever else
// listens where the program was to listen may never answer.
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

// command makes a command that runs as the account and writes to log.
func command(a *account, log *os.File, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...) //nolint:noctx // it lives longer than the call that starts it
	cmd.Dir = dir
	// A fixed time zone spares initdb the search for the machine's.
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(a)
	return cmd
}
