package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
)

// tenantHeader is how tests say who they are. Real ones authenticate.
func tenantHeader(r *http.Request) string { return r.Header.Get("Tenant") }

func newGateway(t testing.TB, cfg gateway.Config) *gateway.Gateway {
	t.Helper()
	if cfg.Backend == nil {
		cfg.Backend = gatewaytest.NewMemory(0)
	}
	cfg.Tenant = tenantHeader
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A counter is a handler that counts how often it runs.
type counter struct {
	runs   int
	handle http.HandlerFunc // nil: 201 and a body with the number of runs
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.runs++
	if c.handle != nil {
		c.handle(w, r)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, "run "+string(rune('0'+c.runs)))
}

// request returns a POST with key k.
func request(t testing.TB, k, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/orders?a=1", strings.NewReader(body))
	r.Header.Set("Tenant", "acme")
	r.Header.Set("Idempotency-Key", k)
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// wantProblem checks a response of the gateway itself.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	var p gateway.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Errorf("%d %q is no problem: %v; want %d %s", w.Code, w.Body, err, status, code)
		return
	}
	if w.Code != status || p.Status != status || p.Code != code || p.Title == "" || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %v %s, want %d %s", w.Code, w.Header(), w.Body, status, code)
	}
	needsRetry := status == http.StatusConflict || status == http.StatusServiceUnavailable
	if got := w.Header().Get("Retry-After"); needsRetry != (got != "") {
		t.Errorf("%d %s has Retry-After %q", status, code, got)
	}
	if w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %s is marked as replayed", status, code)
	}
}

// A fake is a backend whose calls end as a test wants.
type fake struct {
	beginErr, finishErr error
	stored              []byte

	finished []gateway.Result
	released int
	endedCtx error // of the context of the last Finish or Release
}

func (f *fake) Begin(context.Context, gateway.Key) (gateway.Run, []byte, error) {
	if f.beginErr != nil || f.stored != nil {
		return nil, f.stored, f.beginErr
	}
	return f, nil, nil
}

func (f *fake) Context(ctx context.Context) context.Context { return ctx }

func (f *fake) Finish(ctx context.Context, result gateway.Result) error {
	f.finished, f.endedCtx = append(f.finished, result), ctx.Err()
	return f.finishErr
}

func (f *fake) Release(ctx context.Context) error {
	f.released++
	f.endedCtx = ctx.Err()
	return nil
}
