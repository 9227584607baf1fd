package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTransport checks the rules of http.Transport that the page states. The request comes
// on a connection that has been used, which the server cuts after the commit.
func TestTransport(t *testing.T) {
	t.Parallel()
	unknownBody := func() io.Reader { return io.MultiReader(strings.NewReader("{}")) } // without GetBody
	tests := []struct {
		name    string
		method  string
		body    io.Reader
		header  http.Header
		arrived int
	}{
		{"GET", http.MethodGet, nil, nil, 2},
		{"POST", http.MethodPost, strings.NewReader("{}"), nil, 1},
		{"POST without a body", http.MethodPost, nil, nil, 1},
		{"PUT", http.MethodPut, strings.NewReader("{}"), nil, 1},
		{"DELETE", http.MethodDelete, nil, nil, 1},
		{"POST with Idempotency-Key", http.MethodPost, strings.NewReader("{}"), http.Header{"Idempotency-Key": {"1"}}, 2},
		{"POST with X-Idempotency-Key", http.MethodPost, strings.NewReader("{}"), http.Header{"X-Idempotency-Key": {"1"}}, 2},
		{"POST with an entry without values", http.MethodPost, strings.NewReader("{}"), http.Header{"Idempotency-Key": {}}, 2},
		{"POST with a key and a body that cannot be read again", http.MethodPost, unknownBody(), http.Header{"Idempotency-Key": {"1"}}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, err := startBackend(t.Context(), fault{reused: true, commit: true, cut: true})
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), test.method, "/payments", test.body)
			if err != nil {
				t.Fatal(err)
			}
			if test.header != nil {
				req.Header = test.header
			}
			if _, err := roundTrip(b, req); err != nil {
				t.Fatal(err)
			}
			got := b.stop()
			if !got.reused {
				t.Error("the request came on a new connection")
			}
			if got.arrived != test.arrived {
				t.Errorf("arrived %d times, want %d", got.arrived, test.arrived)
			}
		})
	}
}
