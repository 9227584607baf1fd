package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/pawl-go/pawl/gateway"
)

// TestTransientRefusals checks that a refusal that the next attempt may not get is sent, but
// not stored.
func TestTransientRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		spelt      string
		hangUp     bool
		isStored   bool
	}{
		"a refusal":                      {404, "", "Retry-After", false, true},
		"for now":                        {409, "1", "Retry-After", false, false},
		"for now, in lower case":         {409, "1", "retry-after", false, false},
		"too large for now":              {413, "60", "Retry-After", false, false},
		"accepted, look again later":     {202, "1", "Retry-After", false, true},
		"moved, look again later":        {303, "1", "Retry-After", false, true},
		"the client has gone":            {404, "", "Retry-After", true, false},
		"the client has gone, a success": {201, "", "Retry-After", true, true},
		"the client has gone, elsewhere": {303, "", "Retry-After", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := &fake{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := do(newGateway(t, gateway.Config{Backend: backend}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.hangUp {
					cancel()
				}
				if c.retryAfter != "" {
					w.Header()[c.spelt] = []string{c.retryAfter}
				}
				w.WriteHeader(c.status)
			})), request(t, "k", "").WithContext(ctx))
			if w.Code != c.status || strings.Join(w.Header()[c.spelt], "") != c.retryAfter {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if (len(backend.finished) == 1) != c.isStored || (backend.released == 1) == c.isStored {
				t.Errorf("stored %d times, released %d times", len(backend.finished), backend.released)
			}
		})
	}
}

// TestForwarded lets a handler forward its request to a service that is still working on an
// earlier attempt: the next attempt gets that service's answer, not "in progress" for a day.
func TestForwarded(t *testing.T) {
	t.Parallel()
	behind := newGateway(t, gateway.Config{Backend: &fake{beginErr: &gateway.InProgressError{}}}).Handler(&counter{})
	forward := behind
	h := newGateway(t, gateway.Config{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		forward.ServeHTTP(w, request(t, "k", ""))
	}))
	wantProblem(t, do(h, request(t, "k", "")), http.StatusConflict, "in_progress")
	forward = newGateway(t, gateway.Config{}).Handler(&counter{})
	if w := do(h, request(t, "k", "")); w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestNested wraps a handler twice. Where the keys are the same, the inner gateway would wait
// for the outer one for ever.
func TestNested(t *testing.T) {
	t.Parallel()
	handler := &counter{}
	var logs bytes.Buffer
	g := newGateway(t, gateway.Config{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	mux := http.NewServeMux()
	mux.Handle("POST /orders", g.Handler(handler))
	mux.Handle("POST /orders/{id}/lines", g.Handler(handler))
	h := g.Handler(mux)
	for range 2 {
		wantProblem(t, do(h, request(t, "k", "")), http.StatusInternalServerError, "nested")
	}
	if handler.runs != 0 || !strings.Contains(logs.String(), "gateway") {
		t.Errorf("%d runs; the logs are %q", handler.runs, logs.String())
	}
	r := request(t, "k", "")
	r.URL.Path = "/orders/1/lines" // another route inside than outside
	if w := do(h, r); w.Code != http.StatusCreated || handler.runs != 1 {
		t.Errorf("%d %s, %d runs", w.Code, w.Body, handler.runs)
	}
}

// TestUploads checks that the files of a form are removed when its handler has returned.
func TestUploads(t *testing.T) {
	t.Parallel()
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	part, err := parts.CreateFormFile("file", "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(bytes.Repeat(allBytes(), 100)); err != nil {
		t.Fatal(err)
	}
	if err := parts.Close(); err != nil {
		t.Fatal(err)
	}
	for _, panics := range []bool{false, true} {
		var path string
		server := httptest.NewServer(newGateway(t, gateway.Config{}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := r.ParseMultipartForm(1); err != nil {
				t.Error(err)
				return
			}
			file, err := r.MultipartForm.File["file"][0].Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			onDisk, ok := file.(*os.File)
			if !ok {
				t.Error("the file is in memory")
				return
			}
			path = onDisk.Name()
			if panics {
				panic(http.ErrAbortHandler)
			}
		})))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/files", bytes.NewReader(form.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Tenant", "acme")
		r.Header.Set("Idempotency-Key", "k")
		r.Header.Set("Content-Type", parts.FormDataContentType())
		if response, err := server.Client().Do(r); err == nil {
			_, _ = io.Copy(io.Discard, response.Body) // until the end of the response
			_ = response.Body.Close()
		}
		server.Close() // which waits for the handler
		if _, err := os.Stat(path); path == "" || !os.IsNotExist(err) {
			t.Errorf("panics: %t: file %q is there after the request: %v", panics, path, err)
		}
	}
}
