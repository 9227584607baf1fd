//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pawl-go/pawl/internal/gateways/configs"
)

// A program is a process that can be killed and started again.
type program struct {
	path    string
	args    []string
	env     []string
	address string // where it listens

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (p *program) start() error {
	cmd := exec.Command(p.path, p.args...) //nolint:gosec,noctx // it runs until it is killed
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.done = cmd, make(chan struct{})
	done := p.done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	return nil
}

func (p *program) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *program) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// answers waits until the program accepts connections.
func (p *program) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", p.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended", p.path)
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startProxy starts HAProxy with the recommended configuration and shorter timeouts.
func startProxy(dir string, servers [2]string) (*program, error) {
	address, err := freeAddr()
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer(
		"127.0.0.1:8080", address, "127.0.0.1:9001", servers[0], "127.0.0.1:9002", servers[1], "30s", "1500ms",
	).Replace(configs.Text("haproxy.cfg"))
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p := &program{path: "haproxy", args: []string{"-db", "-q", "-f", file}, address: address}
	err = p.start()
	return p, err
}

// A database is a PostgreSQL server that a script of the repository starts.
type database struct {
	script, dir string
	port        string // after the first start
	url         string
}

var urlOf = regexp.MustCompile(`postgres://\S*127\.0\.0\.1:(\d+)[^'\s]*`)

func (d *database) start() error {
	args := []string{"start", d.dir}
	if d.port != "" {
		args = append(args, d.port)
	}
	cmd := exec.Command(d.script, args...) //nolint:gosec,noctx // the project's own script; it has its own deadlines
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", d.script, strings.Join(args, " "), err, said.Bytes())
	}
	found := urlOf.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("%s printed no address: %s", d.script, out)
	}
	d.url, d.port = string(found[0]), string(found[1])
	return nil
}

func (d *database) stop() error {
	out, err := exec.Command(d.script, "stop", d.dir).CombinedOutput() //nolint:gosec,noctx // as above
	if err != nil {
		return fmt.Errorf("%s stop: %w\n%s", d.script, err, out)
	}
	return nil
}

// postmaster returns the pid of the server.
func (d *database) postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(d.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(strings.TrimSpace(line))
}

// kill ends the server at once: no checkpoint, and no commit that is not durable.
func (d *database) kill() error {
	pid, err := d.postmaster()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("PostgreSQL still runs 20 s after it was killed")
		}
	}
	return nil
}

// signal sends a signal to all processes of the server. Some may end meanwhile.
func (d *database) signal(s syscall.Signal) error {
	pid, err := d.postmaster()
	if err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil {
		return err
	}
	for child := range strings.FieldsSeq(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, s)
		}
	}
	return nil
}
