package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/gateways/configs"
	"github.com/pawl-go/pawl/internal/testdb"
)

// A program is a process that the test starts, kills and starts again. It is the test binary
// with other arguments, and ends when its standard input is closed, so it does not outlive the
// test.
type program struct {
	args          []string
	env           []string
	network, addr string // where it listens; empty if it does not
	said          *said

	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended and err is set
	err   error
}

func (p *program) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = p.said, p.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.stdin, p.done = cmd, stdin, make(chan struct{})
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return nil
}

// ended reports whether the program does not run.
func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return p.done == nil
	}
}

// up starts the program and waits until it accepts connections. If it ends before, which it does
// if somebody else has its port for a moment, up starts it again.
func (p *program) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := testdb.Poll(ctx, 10*time.Millisecond, func() error {
		if p.ended() {
			if err := p.start(); err != nil {
				return err
			}
		}
		if p.addr == "" {
			return nil
		}
		conn, err := new(net.Dialer).DialContext(ctx, p.network, p.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.args[0], err)
	}
	return nil
}

var errEnded = errors.New("the process had ended before it was killed")

// kill kills the program, as kill -9 does, and waits until it is gone.
func (p *program) kill() error {
	if p.ended() {
		return fmt.Errorf("%s: %w", p.args[0], errors.Join(errEnded, p.err))
	}
	_ = p.cmd.Process.Kill() // fails only if it has just ended
	<-p.done
	return nil
}

// stop asks the program to end, which it must do soon and with status 0.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.args[0], errors.Join(err, p.err))
	}
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s after SIGTERM: %w", p.args[0], p.err)
		}
		return nil
	case <-time.After(shutdownGrace + 20*time.Second):
		return fmt.Errorf("%s still runs after SIGTERM", p.args[0])
	}
}

// close ends the program if it still runs.
func (p *program) close() {
	if p.done == nil {
		return
	}
	_ = p.stdin.Close() // fails if the program has ended
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// killServers kills one of the two processes that serve, again and again, at any moment of
// their work.
func (p *proxied) killServers(ctx context.Context) error {
	for range serverKills {
		if !pause(ctx, 400*time.Millisecond) {
			return ctx.Err()
		}
		server := p.servers[rand.IntN(len(p.servers))]
		if err := server.kill(); err != nil {
			return err
		}
		if err := server.up(ctx); err != nil {
			return err
		}
	}
	return nil
}

// killWorker kills the worker again and again, each time after it has settled records.
func (p *proxied) killWorker(ctx context.Context) error {
	for range workerKills {
		before, err := p.settled(ctx)
		if err != nil {
			return err
		}
		err = testdb.Poll(ctx, 10*time.Millisecond, func() error {
			n, err := p.settled(ctx)
			if err == nil && n < before+5 {
				err = errors.New("the worker settles no records")
			}
			return err
		})
		if err != nil {
			return err
		}
		pause(ctx, 200*time.Millisecond)
		if err := p.worker.kill(); err != nil {
			return err
		}
		if err := p.worker.up(ctx); err != nil {
			return err
		}
	}
	return nil
}

// said collects what programs print.
type said struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write appends.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// haproxy returns HAProxy with the configuration of docs/gateways.md, and a shorter timeout, in
// front of two servers.
func haproxy(t *testing.T, said *said, servers [2]string) *program {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "public.sock")
	text := strings.NewReplacer(
		"127.0.0.1:8080", "unix@"+socket, "127.0.0.1:9001", servers[0], "127.0.0.1:9002", servers[1], "30s", "1500ms",
	).Replace(configs.Text("haproxy.cfg"))
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &program{args: []string{"haproxy", "-db", "-q", "-f", file}, network: "unix", addr: socket, said: said}
}

// runHAProxy runs HAProxy until standard input is closed.
func runHAProxy(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // how it ended does not matter
		cancel()
	}()
	cmd := exec.CommandContext(ctx, "haproxy", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "haproxy:", err)
		return 1
	}
	return 0
}
