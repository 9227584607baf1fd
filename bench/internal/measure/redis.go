package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

// withRedis calls use with the address of a redis-server on loopback that keeps its data in
// memory only.
func withRedis(ctx context.Context, use func(address string) error) (err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(address)
	dir, err := os.MkdirTemp("", "bench-redis-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(ctx)
	server := exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir) //nolint:gosec // on a free port
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		cancel()
		return fmt.Errorf("start redis-server: %w", err)
	}
	defer func() {
		cancel()
		_ = server.Wait() // it was killed
	}()
	if err := isReady(out); err != nil {
		return err
	}
	return use(address)
}

// isReady waits until the server accepts connections, and then drops what it says.
func isReady(out io.Reader) error {
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // until the server ends
			return nil
		}
		said.WriteString(lines.Text() + "\n")
	}
	return fmt.Errorf("redis-server has ended:\n%s", said.String())
}
