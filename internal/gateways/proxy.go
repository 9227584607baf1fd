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
	"strings"
	"time"

	"github.com/pawl-go/pawl/internal/gateways/configs"
)

// proxyTimeout is how long the proxies wait for an answer here, instead of the 30 s of
// their configurations.
const proxyTimeout = time.Second

// A proxy is a program with a configuration that is measured.
type proxy struct {
	title string
	file  string // in configs
	// start returns the command that starts it with configuration files. nil means that
	// there is no program: the client uses http.Transport.
	start func(ctx context.Context, dir string, files []string) *exec.Cmd
	bind  string // what stands before the path of a socket to listen on
}

var proxies = []proxy{
	{title: "Go's http.Transport", file: "transport"},
	{title: "nginx, recommended", file: "nginx.conf", start: nginx, bind: "unix:"},
	{title: "nginx, defaults", file: "nginx-default.conf", start: nginx, bind: "unix:"},
	{title: "nginx, non_idempotent for all requests", file: "nginx-careless.conf", start: nginx, bind: "unix:"},
	{title: "HAProxy, recommended", file: "haproxy.cfg", start: haproxy, bind: "unix@"},
	{title: "HAProxy, defaults", file: "haproxy-default.cfg", start: haproxy, bind: "unix@"},
	{title: "HAProxy, all-retryable-errors for all requests", file: "haproxy-careless.cfg", start: haproxy, bind: "unix@"},
}

func nginx(ctx context.Context, dir string, files []string) *exec.Cmd {
	// Debian's nginx.conf includes the files of /etc/nginx/conf.d in the same way.
	var text strings.Builder
	text.WriteString("events {worker_connections 4096;}\nhttp {\naccess_log off;\n")
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&text, "%s_temp_path %s;\n", name, filepath.Join(dir, name))
	}
	main := filepath.Join(dir, "main.conf")
	for _, file := range files {
		fmt.Fprintf(&text, "include %s;\n", file)
	}
	text.WriteString("}\n")
	if err := os.WriteFile(main, []byte(text.String()), 0o600); err != nil {
		return &exec.Cmd{Err: err}
	}
	globals := fmt.Sprintf("daemon off; master_process off; error_log stderr crit; pid %s;", filepath.Join(dir, "pid"))
	return exec.CommandContext(ctx, "nginx", "-e", "stderr", "-p", dir, "-c", main, "-g", globals)
}

func haproxy(ctx context.Context, _ string, files []string) *exec.Cmd {
	args := []string{"-db", "-q"}
	for _, file := range files {
		args = append(args, "-f", file)
	}
	return exec.CommandContext(ctx, "haproxy", args...)
}

// run starts the proxy in front of the cells' servers and sets their sockets. stop stops it.
func (p proxy) run(ctx context.Context, cells []*cell) (stop func() error, err error) {
	dir, err := os.MkdirTemp("", "pawl-gateways-")
	if err != nil {
		return nil, err
	}
	files := make([]string, len(cells))
	for i, c := range cells {
		c.socket = filepath.Join(dir, fmt.Sprintf("%d.sock", i))
		files[i] = filepath.Join(dir, fmt.Sprintf("%d-%s", i, p.file))
		if err := os.WriteFile(files[i], []byte(p.adapt(i, c)), 0o600); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	var output bytes.Buffer
	cmd := p.start(ctx, dir, files)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	stop = func() error {
		_ = cmd.Process.Kill()
		<-exited
		return os.RemoveAll(dir)
	}
	for _, c := range cells {
		if err := listening(ctx, c.socket, exited); err != nil {
			err = errors.Join(err, stop())
			return nil, fmt.Errorf("%s: %w\n%s", p.title, err, output.String())
		}
	}
	return stop, nil
}

// adapt returns the configuration with a cell's addresses, names of its own, and short
// timeouts.
func (p proxy) adapt(number int, c *cell) string {
	return strings.NewReplacer(
		"127.0.0.1:8080", p.bind+c.socket,
		"127.0.0.1:9001", c.backend.addrs[0],
		"127.0.0.1:9002", c.backend.addrs[1],
		"pawl", fmt.Sprintf("pawl%d", number),
		"public", fmt.Sprintf("public%d", number),
		"30s", fmt.Sprintf("%dms", proxyTimeout.Milliseconds()),
	).Replace(configs.Text(p.file))
}

// listening waits until the socket accepts connections.
func listening(ctx context.Context, socket string, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var dialer net.Dialer
		if conn, err := dialer.DialContext(ctx, "unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-exited:
			return errors.New("the proxy exited")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

// versions returns the names and versions of the programs, as in "nginx 1.22.1". The error
// is exec.ErrNotFound if one is not installed.
func versions(ctx context.Context) (string, error) {
	var parts []string
	for _, program := range [][2]string{{"nginx", "nginx"}, {"HAProxy", "haproxy"}} {
		output, err := exec.CommandContext(ctx, program[1], "-v").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s: %w", program[1], err)
		}
		parts = append(parts, program[0]+" "+string(versionNumber.Find(output)))
	}
	return strings.Join(parts, ", "), nil
}
