package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A fault is what the backend does with the first arrival of a request. It serves later
// ones.
type fault struct {
	name    string
	refuse  bool // the first server refuses connections
	reused  bool // the request comes on connections that have been used before
	commit  bool // the request takes effect before the rest happens
	late    bool // it takes effect after the proxy's timeout
	cut     bool // the connection is closed without an answer
	partial bool // it is closed in the middle of the answer
	status  int  // of the answer, if not 0
}

var faults = []fault{
	{name: "none", commit: true},
	{name: "connection refused", refuse: true, commit: true},
	{name: "connection cut before the commit", cut: true},
	{name: "connection cut after the commit", commit: true, cut: true},
	{name: "used connection cut before the commit", reused: true, cut: true},
	{name: "used connection cut after the commit", reused: true, commit: true, cut: true},
	{name: "answer cut in the middle", commit: true, partial: true},
	{name: "commit after the proxy's timeout", late: true},
	{name: "500, nothing committed", status: http.StatusInternalServerError},
	{name: "503, nothing committed", status: http.StatusServiceUnavailable},
	{name: "504 after the commit", commit: true, status: http.StatusGatewayTimeout},
}

// warmUp is the path of requests that only make connections used ones. They are not
// counted.
const warmUp = "/warm-up"

// A backend is two servers behind a proxy, which count how often one request arrives and
// how often it takes effect. It honours Idempotency-Key as package gateway does: a
// request whose key has taken effect is answered and has no further effect, and one whose
// key is still running gets 409.
type backend struct {
	fault   fault
	addrs   [2]string
	servers []*http.Server
	closers []io.Closer

	mu      sync.Mutex
	idle    *sync.Cond // signaled when no handler runs
	running int        // handlers
	arrived int
	effects int
	key     map[string]state
	reused  bool // the first arrival came on a used connection
}

// state is how far a key is.
type state int

const (
	unknown state = iota
	started
	done
)

// startBackend starts the servers on loopback.
func startBackend(ctx context.Context, f fault) (*backend, error) {
	b := &backend{fault: f, key: make(map[string]state)}
	b.idle = sync.NewCond(&b.mu)
	for i := range b.addrs {
		if f.refuse && i == 0 {
			closer, addr, err := refusing(ctx)
			if err != nil {
				return nil, err
			}
			b.addrs[i], b.closers = addr, append(b.closers, closer)
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		server := &http.Server{
			Handler:           b,
			ReadHeaderTimeout: time.Minute,
		}
		server.ConnContext = countUses
		b.addrs[i], b.servers = listener.Addr().String(), append(b.servers, server)
		go server.Serve(listener) //nolint:errcheck // ErrServerClosed
	}
	return b, nil
}

// stop waits for the handlers, closes the servers, and returns what they have counted.
func (b *backend) stop() outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.running > 0 {
		b.idle.Wait()
	}
	for _, server := range b.servers {
		_ = server.Close()
	}
	for _, closer := range b.closers {
		_ = closer.Close()
	}
	return outcome{arrived: b.arrived, effects: b.effects, reused: b.reused}
}

// enter counts a handler that begins (1) or ends (-1).
func (b *backend) enter(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running += n
	if b.running == 0 {
		b.idle.Broadcast()
	}
}

// ServeHTTP serves an arrival.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.enter(1)
	defer b.enter(-1)
	uses := uses(r.Context())
	_, _ = io.Copy(io.Discard, r.Body)
	if r.URL.Path == warmUp {
		return
	}
	key := r.Header.Get("Idempotency-Key")
	first, before := b.arrive(key, uses > 1)
	switch {
	case before == started:
		w.WriteHeader(http.StatusConflict)
	case before == done:
		w.WriteHeader(http.StatusCreated)
	case first:
		b.fail(w, key)
	default:
		b.takeEffect(key)
		w.WriteHeader(http.StatusCreated)
	}
}

// arrive counts an arrival. It returns whether that is the first one, and how far its key
// was.
func (b *backend) arrive(key string, reused bool) (first bool, before state) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived++
	first = b.arrived == 1
	b.reused = b.reused || first && reused
	if key == "" {
		return first, unknown
	}
	before = b.key[key]
	if before == unknown {
		b.key[key] = started
	}
	return first, before
}

func (b *backend) takeEffect(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.effects++
	if key != "" {
		b.key[key] = done
	}
}

// release makes a key free whose request had no effect.
func (b *backend) release(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.key[key] == started {
		delete(b.key, key)
	}
}

// fail does to a request what the fault says.
func (b *backend) fail(w http.ResponseWriter, key string) {
	defer b.release(key)
	if b.fault.commit {
		b.takeEffect(key)
	}
	switch f := b.fault; {
	case f.late:
		<-time.After(2 * proxyTimeout)
		b.takeEffect(key)
		w.WriteHeader(http.StatusCreated)
	case f.cut:
		b.release(key)
		hangUp(w, "")
	case f.partial:
		hangUp(w, "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf")
	case f.status != 0:
		b.release(key)
		w.WriteHeader(f.status)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

// hangUp writes the bytes and closes the connection.
func hangUp(w http.ResponseWriter, bytes string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // only HTTP/1 is served
	}
	_, _ = conn.Write([]byte(bytes))
	_ = conn.Close()
}
