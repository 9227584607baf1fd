package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/testenv"
)

// TestListen checks a worker's health endpoint from start to stop.
func TestListen(t *testing.T) {
	brokers, url := servers(t)
	if _, _, err := execute(t, "migrate", "up", "--database-url", url); err != nil {
		t.Fatal(err)
	}
	if _, _, err := execute(t, "produce", "--orders=10", "--brokers", brokers); err != nil {
		t.Fatal(err)
	}
	address := testenv.FreeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := executeUntil(ctx, "worker", "--brokers", brokers, "--database-url", url, "--listen", address)
		done <- err
	}()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(30 * time.Second)
	for {
		status, body := ask(t, "http://"+address+"/readyz")
		if status == http.StatusOK && body["last_progress"] != nil && body["lag"] == 0.0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not ready, or no progress, after 30s: %d %v", status, body)
		}
	}
	if status, body := ask(t, "http://"+address+"/healthz"); status != http.StatusOK || body["state"] != "consuming" {
		t.Errorf("healthz = %d %v", status, body)
	}
	checkMetrics(t, "http://"+address+"/metrics")
	// A second worker cannot use the same address, and must fail instead of
	// running without probes.
	_, _, err := execute(t, "worker", "--brokers", brokers, "--database-url", url, "--listen", address)
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("worker on an address in use: %v, want an error that names the address", err)
	}
}

// checkMetrics checks that metrics of each kind are served: of batches, of the worker's health, and
// of what was counted in the database.
func checkMetrics(t *testing.T, url string) {
	t.Helper()
	wanted := []string{
		`pawl_records_total{messaging_consumer_group_name="order-workers",pawl_machine="order",pawl_reason="",pawl_task="batch",pawl_verdict="applied"} `,
		`messaging_process_duration_seconds_count{`, `pawl_worker_state{messaging_consumer_group_name="order-workers",pawl_state="consuming"} 1`,
		`pawl_lag{`, `pawl_outbox_messages{`, `pawl_dead_letters{`,
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %v, %v", url, response.Status, err)
		}
		missing := slices.DeleteFunc(slices.Clone(wanted), func(metric string) bool { return strings.Contains(string(text), metric) })
		switch {
		case len(missing) == 0:
			return
		case time.Now().After(deadline):
			t.Fatalf("the metrics do not contain %q within 30s:\n%s", missing, text)
		}
	}
}

// ask requests a worker's health. The status is 0 if there is no answer.
func ask(t *testing.T, url string) (status int, body map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	return response.StatusCode, body
}
