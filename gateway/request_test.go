package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pawl-go/pawl/gateway"
)

// TestRefusedRequests checks which requests never reach the handler.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
		code   string
	}{
		"no key":             {func(r *http.Request) { r.Header.Del("Idempotency-Key") }, 400, "key_missing"},
		"empty key":          {func(r *http.Request) { r.Header.Set("Idempotency-Key", "") }, 400, "key_invalid"},
		"empty quoted key":   {func(r *http.Request) { r.Header.Set("Idempotency-Key", `""`) }, 400, "key_invalid"},
		"two keys":           {func(r *http.Request) { r.Header.Add("Idempotency-Key", "k") }, 400, "key_invalid"},
		"two keys in a line": {func(r *http.Request) { r.Header.Set("Idempotency-Key", "k, k") }, 400, "key_invalid"},
		"two quoted keys":    {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"k", "k"`) }, 400, "key_invalid"},
		"parameters":         {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"k";a=1`) }, 400, "key_invalid"},
		"unfinished quotes":  {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"k`) }, 400, "key_invalid"},
		"only a quote":       {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"`) }, 400, "key_invalid"},
		"an escaped end":     {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"k\"`) }, 400, "key_invalid"},
		"a wrong escape":     {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"\k"`) }, 400, "key_invalid"},
		"bytes":              {func(r *http.Request) { r.Header.Set("Idempotency-Key", "k\x80") }, 400, "key_invalid"},
		"control characters": {func(r *http.Request) { r.Header.Set("Idempotency-Key", "\"k\t\"") }, 400, "key_invalid"},
		"too long":           {func(r *http.Request) { r.Header.Set("Idempotency-Key", strings.Repeat("k", 256)) }, 400, "key_invalid"},
		"too long, quoted":   {func(r *http.Request) { r.Header.Set("Idempotency-Key", `"`+strings.Repeat("k", 256)+`"`) }, 400, "key_invalid"},
		"no tenant":          {func(r *http.Request) { r.Header.Del("Tenant") }, 403, "tenant_unknown"},
		"large body":         {func(r *http.Request) { r.ContentLength = 101 }, 413, "body_too_large"},
		"large body, chunked": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("a", 101))), -1
		}, 413, "body_too_large"},
		"an outer handler's bound": {func(r *http.Request) {
			r.Body, r.ContentLength = http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("abc")), 2), -1
		}, 413, "body_too_large"},
		"a slow body": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded)), -1
		}, 408, "body_too_slow"},
		"a body that is cut off": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), -1
		}, 400, "body_unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{}
			backend := &fake{}
			r := request(t, "k", "body")
			c.change(r)
			wantProblem(t, do(newGateway(t, gateway.Config{Backend: backend, MaxRequestBody: 100}).Handler(handler), r), c.status, c.code)
			if handler.runs > 0 || backend.released > 0 || len(backend.finished) > 0 {
				t.Error("the request was begun")
			}
		})
	}
}

// TestAcceptedKeys checks which spellings are the same key.
func TestAcceptedKeys(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 255)
	for name, c := range map[string]struct {
		first, second string
		same          bool
	}{
		"bare and quoted":        {"8e03978e-40d5", `"8e03978e-40d5"`, true},
		"escapes":                {`"a\\b\"c"`, `"a\\b\"c"`, true},
		"a space":                {`"a b"`, `"a  b"`, false},
		"case":                   {"a", "A", false},
		"the longest":            {long, `"` + long + `"`, true},
		"the longest of escapes": {`"` + strings.Repeat(`\\`, 255) + `"`, `"` + strings.Repeat(`\\`, 255) + `"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{}
			h := newGateway(t, gateway.Config{}).Handler(handler)
			first, second := do(h, request(t, c.first, "b")), do(h, request(t, c.second, "b"))
			if first.Code != 201 || second.Code != 201 || (handler.runs == 1) != c.same || (second.Header().Get("Idempotent-Replayed") == "true") != c.same {
				t.Errorf("%s and %s: %d and %d, %d runs", c.first, c.second, first.Code, second.Code, handler.runs)
			}
		})
	}
}

// TestFingerprint checks what makes a request with a used key a different one.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*http.Request) *http.Request
		reused bool
	}{
		"nothing":     {func(r *http.Request) *http.Request { return r }, false},
		"headers":     {func(r *http.Request) *http.Request { r.Header.Set("Traceparent", "x"); return r }, false},
		"body":        {func(*http.Request) *http.Request { return request(t, "k", "other") }, true},
		"longer body": {func(*http.Request) *http.Request { return request(t, "k", "body ") }, true},
		"query":       {func(r *http.Request) *http.Request { r.URL.RawQuery = "a=2"; return r }, true},
		"path":        {func(r *http.Request) *http.Request { r.URL.Path = "/orders/"; return r }, true},
		"method":      {func(r *http.Request) *http.Request { r.Method = http.MethodPatch; return r }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{}
			g := newGateway(t, gateway.Config{Route: func(*http.Request) string { return "orders" }})
			h := g.Handler(handler)
			do(h, request(t, "k", "body"))
			w := do(h, c.change(request(t, "k", "body")))
			if c.reused {
				wantProblem(t, w, http.StatusUnprocessableEntity, "key_reused")
			} else if w.Body.String() != "run 1" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if handler.runs != 1 {
				t.Errorf("%d runs", handler.runs)
			}
		})
	}
}

// TestScopes checks that nobody gets the response of another tenant or route.
func TestScopes(t *testing.T) {
	t.Parallel()
	handler := &counter{}
	g := newGateway(t, gateway.Config{})
	mux := http.NewServeMux()
	mux.Handle("POST /orders", g.Handler(handler))
	mux.Handle("POST /orders/{id}/refunds", g.Handler(handler))
	send := func(tenant, path string) string {
		r := request(t, "k", "b")
		r.Header.Set("Tenant", tenant)
		r.URL.Path = path
		return do(mux, r).Body.String()
	}
	for i, want := range []struct{ tenant, path, body string }{
		{"acme", "/orders", "run 1"},
		{"globex", "/orders", "run 2"},
		{"acme", "/orders/1/refunds", "run 3"},
		{"acme", "/orders", "run 1"},
		{"globex", "/orders", "run 2"},
	} {
		if got := send(want.tenant, want.path); got != want.body {
			t.Errorf("%d: %+v got %q", i, want, got)
		}
	}
	// The route is the pattern, so a key is used for one order only.
	if got := send("acme", "/orders/2/refunds"); !strings.Contains(got, "key_reused") {
		t.Errorf("the same key for another order: %s", got)
	}
}

// TestMounts checks that handlers with the same pattern, in muxes that are mounted at
// different prefixes, have different routes.
func TestMounts(t *testing.T) {
	t.Parallel()
	handler := &counter{}
	g := newGateway(t, gateway.Config{})
	outer := http.NewServeMux()
	for _, prefix := range []string{"/v1", "/v2"} {
		inner := http.NewServeMux()
		inner.Handle("POST /orders", g.Handler(handler))
		inner.Handle("POST /orders/{id}", g.Handler(handler))
		outer.Handle(prefix+"/", http.StripPrefix(prefix, inner))
	}
	for _, want := range []struct{ path, key, body string }{
		{"/v1/orders", "k", "run 1"},
		{"/v2/orders", "k", "run 2"},
		{"/v1/orders", "k", "run 1"},
		{"http://example.com/v1/orders", "k", "run 1"}, // as to a proxy
		{"http://example.com/v2/orders", "k", "run 2"},
		{"http://example.org:80/v2/orders?", "k", "run 2"},
		{`/v1/orders/a"b`, "l", "run 3"}, // not encoded as it should be
		{`/v2/orders/a"b`, "l", "run 4"},
		{`/v1/orders/a%22b`, "l", "run 3"},
		{`/v1/orders/a%2Fb`, "m", "run 5"},
		{`/v2/orders/a%2Fb`, "m", "run 6"},
		{`http://example.com/v1/orders/a%2Fb`, "m", "run 5"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, want.path, strings.NewReader("b"))
		r.Header.Set("Tenant", "acme")
		r.Header.Set("Idempotency-Key", want.key)
		if got := do(outer, r).Body.String(); got != want.body {
			t.Errorf("%s got %q, want %q", want.path, got, want.body)
		}
	}
}

// TestBodyIsGone checks that a request is refused if an outer handler has read its body:
// its fingerprint would leave it out.
func TestBodyIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(*http.Request)
		status int
	}{
		"read":      {func(r *http.Request) { _, _ = io.ReadAll(r.Body) }, http.StatusInternalServerError},
		"peeked at": {func(r *http.Request) { _, _ = io.ReadFull(r.Body, make([]byte, 1)) }, http.StatusInternalServerError},
		"form":      {func(r *http.Request) { _ = r.ParseForm() }, http.StatusInternalServerError},
		"chunks":    {func(r *http.Request) { r.ContentLength = -1; _ = r.ParseForm() }, http.StatusInternalServerError},
		"no body":   {func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0; _ = r.ParseForm() }, http.StatusCreated},
		"put back":  {func(r *http.Request) { _, _ = io.ReadAll(r.Body); r.Body = io.NopCloser(strings.NewReader("a=1")) }, http.StatusCreated},
		"shortened": {func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("a")), -1 }, http.StatusCreated},
		"unpacked": {func(r *http.Request) {
			r.Header.Set("Content-Encoding", "gzip")
			r.Body = io.NopCloser(strings.NewReader("a"))
		}, http.StatusCreated},
		"transformed": {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("decompressed")) }, http.StatusCreated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := &counter{}
			r := request(t, "k", "a=1")
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			c.before(r)
			w := do(newGateway(t, gateway.Config{}).Handler(handler), r)
			if w.Code != c.status || (handler.runs == 1) != (w.Code == http.StatusCreated) {
				t.Errorf("%d %s after %d runs, want %d", w.Code, w.Body, handler.runs, c.status)
			}
			if w.Code >= 500 {
				wantProblem(t, w, c.status, "body_consumed")
			}
		})
	}
}

// TestOtherMethods checks that requests that need no key reach the handler as they are.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	handler := &counter{handle: func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok || gateway.MessageID(r.Context()) != "" {
			t.Errorf("%s does not pass through", r.Method)
		}
		w.Header().Set("Trailer", "X")
	}}
	h := newGateway(t, gateway.Config{}).Handler(handler)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		r := request(t, "k", "")
		r.Method = method
		r.Header.Del("Tenant")
		if w := do(h, r); w.Code != http.StatusOK || w.Header().Get("Trailer") != "X" {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	if handler.runs != 5 {
		t.Errorf("%d runs", handler.runs)
	}
}

// TestOptional checks that a request without a key runs each time, if that is allowed.
func TestOptional(t *testing.T) {
	t.Parallel()
	ids := make(map[string]bool)
	handler := &counter{handle: func(_ http.ResponseWriter, r *http.Request) { ids[gateway.MessageID(r.Context())] = true }}
	h := newGateway(t, gateway.Config{Optional: true}).Handler(handler)
	for range 3 {
		r := request(t, "", "b")
		r.Header.Del("Idempotency-Key")
		if w := do(h, r); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if handler.runs != 3 || len(ids) != 3 || ids[""] {
		t.Errorf("%d runs with the message IDs %v", handler.runs, ids)
	}
}

// TestHandlersRequest checks what the handler sees.
func TestHandlersRequest(t *testing.T) {
	t.Parallel()
	var id string
	handler := &counter{handle: func(_ http.ResponseWriter, r *http.Request) {
		id = gateway.MessageID(r.Context())
		body, err := io.ReadAll(r.Body)
		if string(body) != "all of it" || err != nil || r.ContentLength != 9 || r.PathValue("id") != "7" {
			t.Errorf("the body is %q, %v, %d bytes, and the path value %q", body, err, r.ContentLength, r.PathValue("id"))
		}
	}}
	mux := http.NewServeMux()
	mux.Handle("POST /orders/{id}", newGateway(t, gateway.Config{}).Handler(handler))
	r := request(t, `"k"`, "")
	r.URL.Path, r.Body, r.ContentLength = "/orders/7", io.NopCloser(iotest.OneByteReader(strings.NewReader("all of it"))), -1
	do(mux, r)
	want := gateway.Key{Tenant: "acme", Route: "POST /orders/{id}", Value: "k"}.MessageID()
	if handler.runs != 1 || id != want {
		t.Errorf("%d runs with message ID %q, want %q", handler.runs, id, want)
	}
}

// TestNew checks that all problems of a configuration are reported.
func TestNew(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{
		Methods: []string{"GET", "POST", "", "patch"}, MaxRequestBody: -1, MaxStoredBody: -1, MaxResponseBody: -1, Wait: -1, FinishTimeout: -1,
		StoredHeaders:  []string{"location", "connection", "idempotent-replayed"},
		EncryptionKeys: []gateway.EncryptionKey{{ID: "a", Secret: make([]byte, 32)}, {ID: "a", Secret: make([]byte, 31)}, {ID: strings.Repeat("a", 33)}},
	})
	for _, part := range []string{
		"Backend", "Tenant", `"GET"`, `""`, `"patch"`, "MaxRequestBody", "MaxStoredBody", "MaxResponseBody", "Wait", "FinishTimeout",
		`"connection"`, `"idempotent-replayed"`, `"a" twice`, "31 bytes", "33 bytes",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "location") {
		t.Errorf("the error names what is right: %v", err)
	}
	for name, cfg := range map[string]gateway.Config{
		"no methods": {Methods: []string{}}, "no key": {RequireEncryption: true},
		"no key that encrypts": {RequireEncryption: true, EncryptionKeys: []gateway.EncryptionKey{{ID: "a", Secret: make([]byte, 32), DecryptOnly: true}}},
	} {
		cfg.Backend, cfg.Tenant = &fake{}, tenantHeader
		if _, err := gateway.New(cfg); err == nil {
			t.Errorf("%s, and no error", name)
		}
	}
}

// TestProblemType checks the URIs of problems, and that those without one have the title that
// RFC 9457 wants for about:blank.
func TestProblemType(t *testing.T) {
	t.Parallel()
	const missing = "Idempotency-Key is missing"
	for prefix, want := range map[string]gateway.Problem{
		"https://api.example.com/problems#": {Type: "https://api.example.com/problems#key_missing", Title: missing},
		"":                                  {Title: http.StatusText(http.StatusBadRequest)},
	} {
		r := request(t, "", "")
		r.Header.Del("Idempotency-Key")
		w := do(newGateway(t, gateway.Config{ProblemType: prefix}).Handler(&counter{}), r)
		wantProblem(t, w, http.StatusBadRequest, "key_missing")
		var p gateway.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Type != want.Type || p.Title != want.Title {
			t.Errorf("%q: type %q, title %q, %v; want %q and %q", prefix, p.Type, p.Title, err, want.Type, want.Title)
		}
		if strings.HasPrefix(p.Detail, missing+". This request needs ") != (prefix == "") {
			t.Errorf("%q: detail %q", prefix, p.Detail)
		}
	}
}

var errDown = errors.New("down")
