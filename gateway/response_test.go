package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/gateway/gatewaytest"
)

// TestStatuses checks which responses are stored, and which undo.
func TestStatuses(t *testing.T) {
	t.Parallel()
	stored := []int{200, 201, 202, 204, 206, 299, 301, 303, 304, 400, 403, 404, 409, 412, 422, 451, 499}
	for _, status := range append(stored, 401, 407, 408, 421, 423, 425, 429, 500, 502, 503, 504, 599, 700) {
		backend := &fake{}
		w := do(newGateway(t, gateway.Config{Backend: backend}).Handler(&counter{handle: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}}), request(t, "k", ""))
		if w.Code != status {
			t.Errorf("status %d, want %d", w.Code, status)
		}
		switch want := len(stored) > 0 && contains(stored, status); {
		case want != (len(backend.finished) == 1), want == (backend.released == 1):
			t.Errorf("%d: stored %d times, released %d times", status, len(backend.finished), backend.released)
		case want && backend.finished[0].Undo != (status >= 400):
			t.Errorf("%d: undo is %t", status, backend.finished[0].Undo)
		}
	}
}

func contains(all []int, one int) bool {
	return slices.Contains(all, one)
}

// TestStores checks that a configuration can only narrow what is stored.
func TestStores(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{200: true, 404: false, 500: false, 429: false} {
		backend := &fake{}
		do(newGateway(t, gateway.Config{Backend: backend, Stores: func(status int) bool { return status != 404 }}).
			Handler(&counter{handle: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }}), request(t, "k", ""))
		if (len(backend.finished) == 1) != want {
			t.Errorf("%d is stored: %t", status, !want)
		}
	}
}

// TestReplay compares the repeats of responses with the first.
func TestReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		status int
		body   string
		header http.Header // of the repeat, without Content-Length
		lost   []string    // headers that only the first one has
	}{
		"nothing": {func(http.ResponseWriter, *http.Request) {}, 200, "", http.Header{}, nil},
		"a sniffed type": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			200, "<html>",
			http.Header{"Content-Type": {"text/html; charset=utf-8"}},
			nil,
		},
		"no type": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				_, _ = io.WriteString(w, "<html>")
			},
			200, "<html>",
			http.Header{"Content-Type": nil},
			nil,
		},
		"headers": {
			func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Set("Location", "/orders/1")
				h.Add("Link", "</a>")
				h.Add("Link", "</b>")
				h.Set("Set-Cookie", "secret")
				h.Set("X-Request-Id", "1")
				h.Set("ETag", `"1"`)
				h.Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusCreated)
				h.Set("Location", "too late")
				_, _ = w.Write([]byte(`{"id":`))
				_, _ = w.Write([]byte(`1}`))
				w.WriteHeader(http.StatusInternalServerError) // superfluous
			},
			201, `{"id":1}`,
			http.Header{"Location": {"/orders/1"}, "Link": {"</a>", "</b>"}, "Etag": {`"1"`}, "Content-Type": {"application/json"}},
			[]string{"Set-Cookie", "X-Request-Id"},
		},
		"headers that are spelt in another way": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["ETag"] = []string{`"1"`}
			},
			200, "",
			http.Header{"ETag": {`"1"`}},
			nil,
		},
		"a wrong method": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Allow", "GET")
				w.WriteHeader(http.StatusMethodNotAllowed)
			},
			405, "",
			http.Header{"Allow": {"GET"}},
			nil,
		},
		"for later, in one of several forms": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "10")
				w.Header().Set("Vary", "Accept-Encoding")
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(http.StatusAccepted)
			},
			202, "",
			http.Header{"Retry-After": {"10"}, "Vary": {"Accept-Encoding"}, "Content-Encoding": {"gzip"}},
			nil,
		},
		"no content": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
				if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
					panic(err)
				}
			},
			204, "",
			http.Header{},
			nil,
		},
		"informational": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusContinue)
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusAccepted)
			},
			202, "",
			http.Header{},
			nil,
		},
		"a declared length": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "3")
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, "abc")
			},
			200, "abc",
			http.Header{"Content-Type": {"text/plain"}},
			nil,
		},
		"all bytes": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "a/b")
				for i := range 256 {
					_, _ = w.Write([]byte{byte(i)})
				}
			},
			200, string(allBytes()),
			http.Header{"Content-Type": {"a/b"}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{handle: c.handle}
			h := newGateway(t, gateway.Config{}).Handler(handler)
			outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Frame-Options", "DENY") // an outer handler's headers are in both
				h.ServeHTTP(w, r)
			})
			first, second := do(outer, request(t, "k", "")), do(outer, request(t, "k", ""))
			if handler.runs != 1 || first.Code != c.status || second.Code != c.status || first.Body.String() != c.body || second.Body.String() != c.body {
				t.Errorf("%d runs: %d %q and %d %q", handler.runs, first.Code, first.Body, second.Code, second.Body)
			}
			if first.Header().Get("Idempotent-Replayed") != "" {
				t.Error("the first response is marked as replayed")
			}
			want := c.header.Clone()
			want.Set("Idempotent-Replayed", "true")
			want.Set("X-Frame-Options", "DENY")
			got := second.Header().Clone()
			got.Del("Content-Length")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the repeat's headers (-want, +got):\n%s", diff)
			}
			for _, name := range c.lost {
				if first.Header().Get(name) == "" || second.Header().Get(name) != "" {
					t.Errorf("%s is %q and %q", name, first.Header().Get(name), second.Header().Get(name))
				}
			}
		})
	}
}

func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestRefusedResponses checks that a response that can't be repeated is never stored, not
// even a part of it.
func TestRefusedResponses(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]http.HandlerFunc{
		"declared trailers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X")
			w.WriteHeader(http.StatusOK)
		},
		"trailers": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			w.Header().Set(http.TrailerPrefix+"X", "y")
		},
		"a new protocol": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) },
		"a short body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "x")
		},
		"a long body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1")
			_, _ = io.WriteString(w, "xy")
		},
		"no body": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1") },
		"a strange length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "+1")
			_, _ = io.WriteString(w, "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := &fake{}
			w := do(newGateway(t, gateway.Config{Backend: backend}).Handler(handle), request(t, "k", ""))
			wantProblem(t, w, http.StatusInternalServerError, "response_refused")
			if len(backend.finished) != 0 || backend.released != 1 {
				t.Errorf("stored %d times, released %d times", len(backend.finished), backend.released)
			}
		})
	}
}

// TestNoStreaming checks that a handler can't send anything before the run is settled.
func TestNoStreaming(t *testing.T) {
	t.Parallel()
	backend := &fake{}
	do(newGateway(t, gateway.Config{Backend: backend}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		_, _, hijacked := c.Hijack()
		for name, err := range map[string]error{"Flush": c.Flush(), "Hijack": hijacked} {
			if !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})), request(t, "k", ""))
	if len(backend.finished) != 1 {
		t.Error("the handler did not run")
	}
}

// TestPanics checks that a handler that does not return releases the key at once.
func TestPanics(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK); panic(errDown) },
		"abort": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			panic(http.ErrAbortHandler)
		},
		"a wrong status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) },
		"Goexit":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK); runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := &fake{}
			h := newGateway(t, gateway.Config{Backend: backend}).Handler(handle)
			var panicked any
			var wait sync.WaitGroup
			wait.Go(func() {
				defer func() { panicked = recover() }()
				do(h, request(t, "k", ""))
			})
			wait.Wait()
			if len(backend.finished) != 0 || backend.released != 1 || (panicked == nil) != (name == "Goexit") {
				t.Errorf("stored %d times, released %d times, panic %v", len(backend.finished), backend.released, panicked)
			}
		})
	}
}

// TestStoresPanics checks that a panic of the configuration's function releases the key too.
func TestStoresPanics(t *testing.T) {
	t.Parallel()
	backend := &fake{}
	h := newGateway(t, gateway.Config{Backend: backend, Stores: func(int) bool { panic(errDown) }}).Handler(&counter{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		do(h, request(t, "k", ""))
	}()
	if len(backend.finished) != 0 || backend.released != 1 {
		t.Errorf("stored %d times, released %d times", len(backend.finished), backend.released)
	}
}

// TestNoAnswer checks handlers that return without an answer because their context has ended:
// nothing is stored. Without that reason it is an answer, the empty one.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hangUp   bool
		handle   http.HandlerFunc
		isStored bool
	}{
		"nothing":                {false, func(http.ResponseWriter, *http.Request) {}, true},
		"nothing, client gone":   {true, func(http.ResponseWriter, *http.Request) {}, false},
		"headers, client gone":   {true, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/a") }, false},
		"an answer, client gone": {true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := &fake{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := do(newGateway(t, gateway.Config{Backend: backend}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.hangUp {
					cancel()
					<-r.Context().Done()
				}
				c.handle(w, r)
			})), request(t, "k", "").WithContext(ctx))
			if (len(backend.finished) == 1) != c.isStored || (backend.released == 1) == c.isStored {
				t.Errorf("stored %d times, released %d times", len(backend.finished), backend.released)
			}
			if !c.isStored {
				wantProblem(t, w, http.StatusServiceUnavailable, "unavailable")
			}
		})
	}
}

// TestNoClaims checks that a problem claims nothing that the middleware can't know: that
// nothing was changed once the handler has run, because the backend may have given it no
// transaction; what earlier attempts have changed; and that the retry after an unknown outcome
// does not take effect twice.
func TestNoClaims(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]*fake{
		"unavailable": {finishErr: &gateway.UnavailableError{Err: errDown}}, "broken": {finishErr: errDown},
		"unknown": {finishErr: gateway.ErrFateUnknown}, "refused": {}, "unreadable": {stored: []byte{9}},
		"unavailable before": {beginErr: &gateway.UnavailableError{Err: errDown}}, "broken before": {beginErr: errDown},
		"without its body": {},
	} {
		r := request(t, "k", "body")
		if name == "without its body" {
			_, _ = io.ReadAll(r.Body)
		}
		w := do(newGateway(t, gateway.Config{Backend: backend}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name == "refused" {
				w.Header().Set("Trailer", "X")
			}
		})), r)
		for _, claim := range []string{"nothing was changed", "does not take effect", "has taken effect"} {
			if w.Code < 500 || strings.Contains(strings.ToLower(w.Body.String()), claim) {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if ran := len(backend.finished)+backend.released > 0; ran && strings.Contains(w.Body.String(), "changed nothing") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

// TestLargeResponses checks responses that are too large to store, or to hold.
func TestLargeResponses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size          int
		first, second int // bytes of the bodies
		omitted       [2]bool
	}{
		"fits":               {10, 10, 10, [2]bool{}},
		"too large to store": {11, 11, 0, [2]bool{false, true}},
		"the largest":        {20, 20, 0, [2]bool{false, true}},
		"too large to hold":  {21, 0, 0, [2]bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{handle: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/orders/1")
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Content-Length", fmt.Sprint(c.size))
				w.WriteHeader(http.StatusCreated)
				for i := range c.size {
					if _, err := w.Write([]byte{'x'}); (err != nil) != (i >= 20) || err != nil && !errors.Is(err, gateway.ErrResponseTooLarge) {
						t.Errorf("Write of byte %d: %v", i, err)
					}
				}
			}}
			h := newGateway(t, gateway.Config{MaxStoredBody: 10, MaxResponseBody: 20}).Handler(handler)
			for i, size := range []int{c.first, c.second, c.second} {
				w := do(h, request(t, "k", ""))
				omitted, typed := w.Header().Get("Idempotent-Body") == "omitted", w.Header().Get("Content-Type") != ""
				if w.Code != http.StatusCreated || w.Body.Len() != size || w.Header().Get("Location") != "/orders/1" || omitted != c.omitted[min(i, 1)] || typed == omitted {
					t.Errorf("attempt %d: %d %v, %d bytes", i, w.Code, w.Header(), w.Body.Len())
				}
			}
			if handler.runs != 1 {
				t.Errorf("%d runs", handler.runs)
			}
		})
	}
}

// TestBackendErrors checks what clients are told if the backend fails.
func TestBackendErrors(t *testing.T) {
	t.Parallel()
	unavailable := &gateway.UnavailableError{RetryAfter: 1500 * time.Millisecond, Err: errDown}
	for name, c := range map[string]struct {
		backend fake
		status  int
		code    string
		retry   string
	}{
		"in progress":                  {fake{beginErr: &gateway.InProgressError{RetryAfter: 3 * time.Second}}, 409, "in_progress", "3"},
		"in progress, no time":         {fake{beginErr: &gateway.InProgressError{}}, 409, "in_progress", "1"},
		"begin: unavailable":           {fake{beginErr: fmt.Errorf("a: %w", unavailable)}, 503, "unavailable", "2"},
		"begin: canceled":              {fake{beginErr: context.Canceled}, 503, "unavailable", "1"},
		"begin: broken":                {fake{beginErr: errDown}, 500, "not_stored", ""},
		"finish: unknown":              {fake{finishErr: fmt.Errorf("%w: lost", gateway.ErrFateUnknown)}, 503, "outcome_unknown", "1"},
		"finish: unknown, unavailable": {fake{finishErr: errors.Join(unavailable, gateway.ErrFateUnknown)}, 503, "outcome_unknown", "1"},
		"finish: unavailable":          {fake{finishErr: unavailable}, 503, "unavailable", "2"},
		"finish: broken":               {fake{finishErr: errDown}, 500, "not_stored", ""},
		"finish: taken, then gone":     {fake{finishErr: gateway.ErrTaken}, 503, "unavailable", "1"},
		"unreadable":                   {fake{stored: []byte{9}}, 500, "response_unreadable", ""},
		"truncated":                    {fake{stored: []byte{1, 2}}, 500, "response_unreadable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := do(newGateway(t, gateway.Config{Backend: &c.backend}).Handler(&counter{}), request(t, "k", ""))
			wantProblem(t, w, c.status, c.code)
			if got := w.Header().Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After is %q, want %q", got, c.retry)
			}
			if n := c.backend.released + len(c.backend.finished); strings.HasPrefix(name, "finish") == (n == 0) {
				t.Errorf("the run was ended %d times", n)
			}
		})
	}
}

// A racing backend lets another run store its response first.
type racing struct{ *gatewaytest.Memory }

func (b racing) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	run, stored, err := b.Memory.Begin(ctx, key)
	if run != nil {
		run = racingRun{run}
	}
	return run, stored, err
}

type racingRun struct{ gateway.Run }

func (r racingRun) Finish(ctx context.Context, result gateway.Result) error {
	other := bytes.ReplaceAll(result.Response, []byte("run 1"), []byte("run 0"))
	return errors.Join(r.Run.Finish(ctx, gateway.Result{Response: other}), gateway.ErrTaken)
}

// TestTaken checks that the response that was stored first is sent to both clients.
func TestTaken(t *testing.T) {
	t.Parallel()
	h := newGateway(t, gateway.Config{Backend: racing{gatewaytest.NewMemory(0)}}).Handler(&counter{})
	for range 2 {
		if w := do(h, request(t, "k", "")); w.Body.String() != "run 0" || w.Header().Get("Idempotent-Replayed") != "true" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}

// TestClientHangsUp checks that a run is settled although its client has gone.
func TestClientHangsUp(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 500} {
		backend := &fake{endedCtx: errDown}
		ctx, cancel := context.WithCancel(t.Context())
		h := newGateway(t, gateway.Config{Backend: backend}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done() // the handler is told
			w.WriteHeader(status)
		}))
		do(h, request(t, "k", "").WithContext(ctx))
		if len(backend.finished)+backend.released != 1 || backend.endedCtx != nil {
			t.Errorf("%d: stored %d times, released %d times, context %v", status, len(backend.finished), backend.released, backend.endedCtx)
		}
	}
}

// TestWait checks how long a request waits for another with its key.
func TestWait(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait, takes time.Duration
		status      int
		after       time.Duration // at most, the second one's answer
	}{
		"at once":     {0, time.Second, 409, 0},
		"long enough": {2 * time.Second, time.Second, 201, 1400 * time.Millisecond},
		"too short":   {time.Second, 2 * time.Second, 409, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newGateway(t, gateway.Config{Wait: c.wait}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(c.takes) //nolint:forbidigo // a synctest bubble
				w.WriteHeader(http.StatusCreated)
			}))
			go do(h, request(t, "k", ""))
			synctest.Wait()
			begin := time.Now()
			w := do(h, request(t, "k", ""))
			if took := time.Since(begin); w.Code != c.status || took > c.after {
				t.Errorf("%s: %d after %v, want %d after %v", name, w.Code, took, c.status, c.after)
			}
			time.Sleep(time.Minute) //nolint:forbidigo // a synctest bubble
		})
	}
}

// TestWaitEndsWithTheClient checks that nobody waits for a client that has gone.
func TestWaitEndsWithTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		h := newGateway(t, gateway.Config{Wait: time.Hour, Backend: &fake{beginErr: &gateway.InProgressError{}}}).Handler(&counter{})
		do(h, request(t, "k", "").WithContext(ctx))
		if took := time.Since(begin); took != time.Second {
			t.Errorf("waited for %v", took)
		}
	})
}

// TestEncryption checks that keys can be rotated, and that a stored response is worth nothing
// for another key.
func TestEncryption(t *testing.T) {
	t.Parallel()
	secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	older, newer := gateway.EncryptionKey{ID: "2025", Secret: secret(1)}, gateway.EncryptionKey{ID: "2026", Secret: secret(2)}
	forged := gateway.EncryptionKey{ID: "2025", Secret: secret(3)}
	memory := gatewaytest.NewMemory(0)
	recorded := &recording{Backend: memory, stored: make(map[string][]byte)}
	coming := gateway.EncryptionKey{ID: newer.ID, Secret: newer.Secret, DecryptOnly: true}
	sendTo := func(cfg gateway.Config, k string) string {
		cfg.Backend = recorded
		return do(newGateway(t, cfg).Handler(&counter{}), request(t, k, "")).Body.String()
	}
	send := func(k string, keys ...gateway.EncryptionKey) string {
		return sendTo(gateway.Config{EncryptionKeys: keys}, k)
	}
	send("plain")
	send("coming", coming)
	send("old", coming, older)
	send("new", newer, older)
	for name, ok := range map[string]bool{"plain": true, "coming": true, "old": false, "new": false} {
		if got := bytes.Contains(recorded.stored[name], []byte("run 1")); got != ok {
			t.Errorf("%s: what is stored has the response in clear: %t", name, got)
		}
	}
	for _, c := range []struct {
		k    string
		keys []gateway.EncryptionKey
		ok   bool
	}{
		{"plain", []gateway.EncryptionKey{newer}, true},
		{"old", []gateway.EncryptionKey{older}, true},
		{"old", []gateway.EncryptionKey{newer, older}, true},
		{"old", []gateway.EncryptionKey{coming}, false},
		{"new", []gateway.EncryptionKey{older, newer}, true},
		{"new", []gateway.EncryptionKey{coming}, true},
		{"old", []gateway.EncryptionKey{newer}, false},
		{"old", []gateway.EncryptionKey{forged}, false},
		{"old", nil, false},
	} {
		if got := send(c.k, c.keys...); (got == "run 1") != c.ok || !c.ok && !strings.Contains(got, "response_unreadable") {
			t.Errorf("%s with %d keys: %s", c.k, len(c.keys), got)
		}
	}
	for k, want := range map[string]string{"plain": "response_unreadable", "new": "run 1"} {
		if got := sendTo(gateway.Config{EncryptionKeys: []gateway.EncryptionKey{newer}, RequireEncryption: true}, k); !strings.Contains(got, want) {
			t.Errorf("%s, if encryption is required: %s", k, got)
		}
	}
	swapped := &fake{stored: recorded.stored["old"]}
	w := do(newGateway(t, gateway.Config{Backend: swapped, EncryptionKeys: []gateway.EncryptionKey{older}}).Handler(&counter{}), request(t, "other", ""))
	wantProblem(t, w, http.StatusInternalServerError, "response_unreadable")
}

// A recording backend remembers what was stored, by the value of the key.
type recording struct {
	gateway.Backend

	stored map[string][]byte
}

func (b *recording) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	run, stored, err := b.Backend.Begin(ctx, key)
	if run != nil {
		run = recordedRun{run, b, key.Value}
	}
	return run, stored, err
}

type recordedRun struct {
	gateway.Run
	b *recording
	k string
}

func (r recordedRun) Finish(ctx context.Context, result gateway.Result) error {
	r.b.stored[r.k] = result.Response
	return r.Run.Finish(ctx, result)
}

// TestLogs checks that problems are logged, and that logs have no keys or bodies.
func TestLogs(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	for _, backend := range []*fake{
		{beginErr: errDown}, {finishErr: gateway.ErrFateUnknown}, {beginErr: &gateway.UnavailableError{Err: errDown}}, {stored: []byte{9}},
	} {
		logs.Reset()
		g := newGateway(t, gateway.Config{Backend: backend, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		do(g.Handler(&counter{}), request(t, "secret-key", "secret-body"))
		if logs.Len() == 0 || strings.Contains(logs.String(), "secret") {
			t.Errorf("the logs are %q", logs.String())
		}
	}
}
