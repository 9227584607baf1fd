package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/gateway"
)

// newGateway returns a gateway for requests whose header Tenant names their tenant.
func newGateway(t *testing.T, b gateway.Backend) *gateway.Gateway {
	t.Helper()
	g, err := gateway.New(gateway.Config{Backend: b, Tenant: func(r *http.Request) string { return r.Header.Get("Tenant") }})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// An answer is a response as a client sees it, without what each transmission has.
type answer struct {
	status   int
	header   string
	body     string
	replayed bool
}

// send sends a request to a handler. ok is false if the handler panics.
func send(ctx context.Context, h http.Handler, k, body string) (a answer, ok bool) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/orders", strings.NewReader(body))
	r.Header.Set("Tenant", "acme")
	r.Header.Set("Idempotency-Key", k)
	w := httptest.NewRecorder()
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	h.ServeHTTP(w, r)
	result := w.Result()
	defer result.Body.Close()
	all, err := io.ReadAll(result.Body)
	a = answer{status: result.StatusCode, body: string(all), replayed: result.Header.Get("Idempotent-Replayed") == "true"}
	result.Header.Del("Idempotent-Replayed")
	var header strings.Builder
	for _, name := range slices.Sorted(maps.Keys(result.Header)) {
		fmt.Fprintf(&header, "%s: %q\n", name, result.Header[name])
	}
	a.header = header.String()
	return a, err == nil
}

// testClients lets a hundred clients send one request until they get its response.
func testClients(t *testing.T, s Subject) {
	var mu sync.Mutex
	effects := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		effects++
		n := effects
		mu.Unlock()
		w.Header().Set("Location", "/orders/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "effect %d of %s", n, body)
	})
	servers := make([]http.Handler, 3)
	for i := range servers {
		servers[i] = newGateway(t, s.Open(t)).Handler(handler)
	}
	answers := make([]answer, 100)
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() {
			for range 10_000 {
				answers[i], _ = send(t.Context(), servers[i%len(servers)], "k", "order")
				if answers[i].status != http.StatusConflict {
					return
				}
			}
		})
	}
	wait.Wait()
	if effects != 1 {
		t.Errorf("the request took effect %d times", effects)
	}
	first := 0
	for _, a := range answers {
		if !a.replayed {
			first++
		}
		a.replayed = false
		if want := (answer{status: http.StatusCreated, body: "effect 1 of order", header: answers[0].header}); a != want {
			t.Errorf("an answer is %+v, want %+v", a, want)
		}
	}
	if first != 1 {
		t.Errorf("%d answers are not marked as replayed, want 1", first)
	}
}

// errDown is what the handler's panics are.
var errDown = errors.New("down")

// A traffic is random requests to a handler that does as it is told.
type traffic struct {
	status int    // what the handler answers; 0: it panics
	text   string // the body of its answer
	runs   int

	firsts map[string]answer // the stored answers, by key
	bodies map[string]string // the bodies of their requests
}

func (tr *traffic) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	tr.runs++
	if tr.status == 0 {
		panic(errDown)
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(tr.status)
	fmt.Fprint(w, tr.text)
}

// check compares the answer to a request with the model.
func (tr *traffic) check(k, body string, got answer, ok bool, runs int) error {
	first, isStored := tr.firsts[k]
	switch {
	case isStored && runs > 0:
		return fmt.Errorf("the request ran again: %+v", got)
	case isStored && tr.bodies[k] != body:
		if got.status != http.StatusUnprocessableEntity {
			return fmt.Errorf("another body: %+v, want 422", got)
		}
	case isStored:
		first.replayed = true
		if got != first {
			return fmt.Errorf("the repeat is %+v, want %+v", got, first)
		}
	case runs != 1, ok != (tr.status != 0), ok && (got.status != tr.status || got.body != tr.text || got.replayed):
		return fmt.Errorf("%d runs; got %+v, %t; want %d %q", runs, got, ok, tr.status, tr.text)
	case ok && gateway.Stores(tr.status):
		tr.firsts[k], tr.bodies[k] = got, body
	}
	return nil
}

// testRequests sends random requests, of which some fail, and compares with a model: what
// was stored is repeated byte for byte and does not run again, and everything else runs.
func testRequests(t *testing.T, s Subject) {
	tr := &traffic{}
	servers := []http.Handler{newGateway(t, s.Open(t)).Handler(tr), newGateway(t, s.Open(t)).Handler(tr)}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		tr.firsts, tr.bodies = make(map[string]answer), make(map[string]string)
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			k := fmt.Sprint(round, "-", rapid.IntRange(0, 1).Draw(rt, "key"))
			body := rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "body")
			tr.status = rapid.SampledFrom([]int{200, 201, 303, 404, 409, 408, 425, 429, 500, 503, 0}).Draw(rt, "status")
			tr.text = rapid.String().Draw(rt, "text")
			before := tr.runs
			got, ok := send(t.Context(), servers[rapid.IntRange(0, 1).Draw(rt, "server")], k, body)
			if err := tr.check(k, body, got, ok, tr.runs-before); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
