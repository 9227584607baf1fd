//go:build unix

package redisserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout limits how long a server may take to answer.
const startTimeout = 30 * time.Second

// A Server is a redis-server. Its methods must not be called concurrently.
type Server struct {
	Addr string // host:port on loopback; it stays the same after Start

	dir  string
	args []string
	proc *process
}

// Run starts a server with more command line arguments, which override those that are
// given by default: no persistence. The error is exec.ErrNotFound if there is no
// redis-server on the machine. Call Close at the end.
func Run(ctx context.Context, args ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "pawl-redis-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, args: args}
	for attempt := 0; ; attempt++ {
		if s.Addr, err = freeAddr(); err == nil {
			err = s.Start(ctx)
		}
		if err == nil {
			return s, nil
		}
		if attempt == 3 || errors.Is(err, exec.ErrNotFound) {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// freeAddr returns an address that nobody listens on. Somebody may take it before the server
// does.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// Start starts the server again, after Kill, on the same address, and waits until it answers.
func (s *Server) Start(ctx context.Context) error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	args := []string{
		"--bind", host, "--port", port, "--dir", s.dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
		"--protected-mode", "no", "--enable-debug-command", "local",
	}
	var output bytes.Buffer
	cmd := exec.Command("redis-server", append(args, s.args...)...) //nolint:gosec,noctx // the arguments are those of tests; it outlives the call
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = attributes()
	proc, err := spawn(cmd)
	if err != nil {
		return err
	}
	s.proc = proc
	if err := s.answers(ctx); err != nil {
		s.Kill()
		return fmt.Errorf("redis-server on %s: %w\n%s", s.Addr, err, output.String())
	}
	return nil
}

// answers waits until the server answers PING.
func (s *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.proc.done:
			return errors.New("it has ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 7)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if got := string(answer[:n]); !strings.HasPrefix(got, "+PONG") {
		return errors.New("it answers " + strconv.Quote(got)) // it is loading
	}
	return nil
}

// Kill ends the server at once (kill -9) and waits until it is gone.
func (s *Server) Kill() {
	_ = s.proc.cmd.Process.Kill() // fails if it has ended
	<-s.proc.done
}

// Freeze stops the server (SIGSTOP): it keeps its connections but answers nothing.
func (s *Server) Freeze() error { return s.proc.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() error { return s.proc.cmd.Process.Signal(syscall.SIGCONT) }

// Close kills the server and deletes its data.
func (s *Server) Close() error {
	s.Kill()
	return os.RemoveAll(s.dir)
}

// A process is a program that a goroutine waits for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// spawn starts the program. The kernel kills it when the thread that has started it ends, so
// one thread is locked for as long as the program runs.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends does not matter
			close(p.done)
		}
	}()
	return p, <-started
}
