package sim

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/pawl-go/pawl/internal/pace"
)

// A line is a worker's network. It can be cut or stalled.
type line struct {
	net *kfake.VirtualNetwork

	mu    sync.Mutex
	isCut bool
	open  chan struct{} // closed while traffic flows
	conns map[*conn]struct{}
}

var errCut = errors.New("network is cut")

// dialTime is how long it takes to connect, or to fail.
const dialTime = time.Millisecond

func newLine(network *kfake.VirtualNetwork) *line {
	l := &line{net: network, open: make(chan struct{}), conns: make(map[*conn]struct{})}
	close(l.open)
	return l
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	// Whoever tries again at once, for ever, must see that time passes.
	if !pace.Sleep(ctx, dialTime) {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errCut
	}
	l.mu.Unlock()
	inner, err := l.net.DialContext(ctx, network, address)
	l.mu.Lock()
	if err != nil {
		return nil, err
	}
	if l.isCut {
		_ = inner.Close()
		return nil, errCut
	}
	c := &conn{Conn: inner, line: l, closed: make(chan struct{})}
	l.conns[c] = struct{}{}
	return c, nil
}

// cut resets all connections and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	l.isCut = true
	conns := l.conns
	l.conns = make(map[*conn]struct{})
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// stall blocks all traffic.
func (l *line) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

func (l *line) repair() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// stallTimeout is how long a connection waits for an answer.
const stallTimeout = 5 * time.Second

// latency is how long a request is under way. Without it a client that asks again and again
// until something else happens, such as one whose leader epoch is fenced until it has new
// metadata, would stop the virtual time: that passes only while all goroutines wait.
const latency = time.Millisecond

// A conn is one connection over a line.
type conn struct {
	net.Conn

	line   *line
	once   sync.Once
	closed chan struct{}
}

func (c *conn) wait() error {
	c.line.mu.Lock()
	open := c.line.open
	c.line.mu.Unlock()
	timer := time.NewTimer(stallTimeout)
	defer timer.Stop()
	select {
	case <-open:
		return nil
	case <-c.closed:
		return net.ErrClosed
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if stalled := c.wait(); stalled != nil {
		return 0, stalled
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	<-time.After(latency)
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.line.mu.Lock()
		delete(c.line.conns, c)
		c.line.mu.Unlock()
	})
	return c.Conn.Close()
}
