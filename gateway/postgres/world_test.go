package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/postgres"
	"github.com/pawl-go/pawl/internal/testenv"
)

// server returns a handler behind a gateway.
func server(t *testing.T, b gateway.Backend, handle http.HandlerFunc, set ...func(*gateway.Config)) http.Handler {
	t.Helper()
	cfg := gateway.Config{Backend: b, Tenant: func(*http.Request) string { return "acme" }}
	for _, s := range set {
		s(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g.Handler(handle)
}

// post sends a request. panicked is what the handler's panic was, or nil.
func post(ctx context.Context, h http.Handler, k string) (w *httptest.ResponseRecorder, panicked any) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/orders", strings.NewReader("order"))
	r.Header.Set("Idempotency-Key", `"`+k+`"`)
	w = httptest.NewRecorder()
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return w, nil
}

// mustPost sends a request until it is neither in progress nor unavailable.
func mustPost(t *testing.T, h http.Handler, k string) (w *httptest.ResponseRecorder) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, func() error {
		w, _ = post(t.Context(), h, k)
		if w.Code == http.StatusConflict || w.Code == http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", w.Code, w.Body)
		}
		return nil
	})
	return w
}

// wantCode checks a response and returns its body.
func wantCode(t *testing.T, w *httptest.ResponseRecorder, status int) string {
	t.Helper()
	if w.Code != status {
		t.Errorf("%d %s, want %d", w.Code, w.Body, status)
	}
	return w.Body.String()
}

// write is a handler that writes what it is asked for into its transaction, and answers with
// the number of the row.
func write(w http.ResponseWriter, r *http.Request) {
	var n int
	err := postgres.Tx(r.Context()).QueryRow(r.Context(), `INSERT INTO effects (what) VALUES ($1) RETURNING n`, keyOf(r)).Scan(&n)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprint(w, "effect ", n)
}

// keyOf returns the key that post has sent.
func keyOf(r *http.Request) string { return strings.Trim(r.Header.Get("Idempotency-Key"), `"`) }

func effects(t *testing.T, direct *pgxpool.Pool, k string) int {
	t.Helper()
	return count(t, direct, `SELECT count(*) FROM effects WHERE what = $1`, k)
}

func responses(t *testing.T, direct *pgxpool.Pool) int {
	t.Helper()
	return count(t, direct, `SELECT count(*) FROM pawl.responses`)
}

// faults cuts one connection of a pool at one of the messages that it sends.
type faults struct {
	mu     sync.Mutex
	armed  bool
	at     int  // the message
	after  bool // cut when the server has begun to answer; otherwise before the message is sent
	sent   int
	struck bool
}

// arm makes the connections be cut at the nth message from now.
func (f *faults) arm(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.at, f.after, f.sent, f.struck = true, n, after, 0, false
}

// disarm returns whether the fault has struck.
func (f *faults) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.struck
}

// strikes counts a message, and reports whether it is the one.
func (f *faults) strikes() (now, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent++; !f.armed || f.struck || f.sent != f.at {
		return false, false
	}
	f.struck = true
	return true, f.after
}

func (f *faults) use(c *pgxpool.Config) {
	c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &faultyConn{Conn: conn, f: f}, nil
	}
}

// A faultyConn has no deadlines while it waits for the answer that it withholds.
type faultyConn struct {
	net.Conn

	f *faults
}

var errCut = errors.New("the connection was cut")

func (c *faultyConn) Write(p []byte) (int, error) {
	now, after := c.f.strikes()
	if !now {
		return c.Conn.Write(p)
	}
	if after {
		if _, err := c.Conn.Write(p); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.ReadFull(c.Conn, make([]byte, 1)) // the server has done it
		}
	}
	_ = c.Close()
	return 0, errCut
}
