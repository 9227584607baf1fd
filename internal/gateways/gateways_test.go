package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// needProxies skips a test where a proxy is not installed. It returns their versions.
func needProxies(t *testing.T) string {
	t.Helper()
	version, err := versions(t.Context())
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("needs nginx and haproxy (apt-get install nginx haproxy): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// measured measures everything on the page, once for all tests.
var measured = sync.OnceValues(func() (map[string]table, error) {
	return measurePage(context.Background())
})

func measuredTables(t *testing.T) map[string]table {
	t.Helper()
	tables, err := measured()
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// TestPage compares the page with what happens.
func TestPage(t *testing.T) {
	t.Parallel()
	version := needProxies(t)
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	shown := block.FindString(string(text))
	if !strings.Contains(shown, version) {
		t.Logf("the page was measured with other versions than %s: %s", version, shown)
		version = strings.TrimSuffix(strings.TrimSpace(strings.Split(strings.SplitN(shown, "Measured with ", 2)[1], "\n")[0]), ".")
	}
	want, err := fill(string(text), measuredTables(t), version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("go run ./internal/gateways -update would change %s (-measured +page):\n%s", page, diff)
	}
}

// TestRecommended checks what the recommended configurations promise.
func TestRecommended(t *testing.T) {
	t.Parallel()
	needProxies(t)
	for _, file := range []string{"nginx.conf", "haproxy.cfg"} {
		for i, f := range faults {
			for j, r := range requests {
				if message := broken(f, r, measuredTables(t)[file][i][j]); message != "" {
					t.Errorf("%s: %s, %s: %s", file, f.name, r, message)
				}
			}
		}
	}
}

// broken says which promise of the recommended configurations an outcome breaks.
func broken(f fault, r request, o outcome) string {
	switch {
	case f.reused && !o.reused:
		return "the request came on a new connection"
	case r.method == http.MethodGet:
		return ""
	case r.key == "" && o.arrived > 1:
		return fmt.Sprintf("arrived %d times without a key", o.arrived)
	case o.effects > 1:
		return fmt.Sprintf("took effect %d times", o.effects)
	case r.key != "" && !f.partial && !f.late && f.status != http.StatusInternalServerError && o.answer != "201":
		return "not retried: " + o.answer
	}
	return ""
}

// TestMoreRequests sends requests that are not in the tables through the recommended
// configurations.
func TestMoreRequests(t *testing.T) {
	t.Parallel()
	needProxies(t)
	large := strings.Repeat("x", 100_000)
	cut := fault{name: "cut", commit: true, cut: true}
	tests := []struct {
		name           string
		request        request
		nginx, haproxy int // arrivals
	}{
		{"PATCH", request{method: http.MethodPatch}, 1, 1},
		{"PATCH with key", request{method: http.MethodPatch, key: key}, 2, 2},
		{"DELETE", request{method: http.MethodDelete}, 1, 1},
		{"DELETE with key", request{method: http.MethodDelete, key: key}, 2, 2},
		{"empty key", request{method: http.MethodPost, header: "Idempotency-Key:\r\n"}, 1, 1},
		{"blank key", request{method: http.MethodPost, header: "Idempotency-Key: \t \r\n"}, 1, 1},
		{"another header", request{method: http.MethodPost, header: "X-Idempotency-Key: 1\r\n"}, 1, 1},
		{"unknown method", request{method: "PURGE"}, 1, 1},
		{"unknown method with key", request{method: "PURGE", key: key}, 1, 1},
		{"longer than HAProxy's buffer", request{method: http.MethodPost, key: key, body: large}, 2, 1},
	}
	var all []request
	for _, test := range tests {
		all = append(all, test.request)
	}
	tables := make(map[string]table)
	for _, p := range proxies {
		if p.file != "nginx.conf" && p.file != "haproxy.cfg" {
			continue
		}
		var err error
		if tables[p.file], err = measure(t.Context(), p, []fault{cut}, all); err != nil {
			t.Fatal(err)
		}
	}
	for i, test := range tests {
		if got := tables["nginx.conf"][0][i].arrived; got != test.nginx {
			t.Errorf("%s: nginx sent it %d times, want %d", test.name, got, test.nginx)
		}
		if got := tables["haproxy.cfg"][0][i].arrived; got != test.haproxy {
			t.Errorf("%s: HAProxy sent it %d times, want %d", test.name, got, test.haproxy)
		}
	}
}
