package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
)

var migrated = testenv.Template("payments", migrateUp)

// A site is the HTTP API on a test's database.
type site struct {
	url    string
	client http.Client
	pool   *pgxpool.Pool
}

func startSite(t *testing.T) *site {
	t.Helper()
	pool := testenv.Pool(t, migrated)
	known, err := parseCallers("shop=shop-token,till=till-token")
	if err != nil {
		t.Fatal(err)
	}
	addr := make(chan net.Addr, 1)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, serverConfig{
			databaseURL: pool.Config().ConnString(), listen: "127.0.0.1:0", callers: known,
			logger: slog.New(slog.DiscardHandler), started: func(a net.Addr) { addr <- a },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s := &site{pool: pool, client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	select {
	case a := <-addr:
		s.url = "http://" + a.String()
	case err := <-served:
		served <- err
		t.Fatal(err)
	}
	return s
}

// An answer is what a client gets.
type answer struct {
	status      int
	contentType string
	body        string
	replayed    bool
}

// post sends a request as a caller.
func (s *site) post(ctx context.Context, caller, path, key, body string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+caller+"-token")
	if key != "" {
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return answer{
		status: response.StatusCode, contentType: response.Header.Get("Content-Type"), body: string(all),
		replayed: response.Header.Get("Idempotent-Replayed") != "",
	}, err
}

func (s *site) mustPost(t *testing.T, caller, path, key, body string) answer {
	t.Helper()
	a, err := s.post(t.Context(), caller, path, key, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAPI goes through the answers that a client can get.
func TestAPI(t *testing.T) {
	t.Parallel()
	s := startSite(t)
	const euros10 = `{"amount":1000,"currency":"EUR","fee_rate":"0.01"}`
	for i, c := range []struct {
		caller, path, key, body string
		status                  int
		says                    string
		replayed                bool
	}{
		{"nobody", "/payments/p/authorizations", "a", euros10, 401, "", false},
		{"shop", "/payments/p/authorizations", "", euros10, 400, "key_missing", false},
		{"shop", "/payments/p/captures", "c", `{"amount":400,"currency":"EUR"}`, 409, "no_entity", false},
		{"shop", "/payments/p/authorizations", "a", euros10, 201, `"state":"authorized"`, false},
		{"shop", "/payments/p/authorizations", "a", euros10, 201, `"state":"authorized"`, true},
		{"shop", "/payments/q/authorizations", "a", euros10, 422, "key_reused", false},
		{"shop", "/payments/p/captures", "c", `{"amount":400,"currency":"EUR"}`, 200, `"captured":400`, false}, // early before
		{"shop", "/payments/p/captures", "c", `{"amount":500,"currency":"EUR"}`, 422, "key_reused", false},
		{"shop", "/payments/p/captures", "d", `{"amount":700,"currency":"EUR"}`, 422, "captures would exceed", false},
		{"shop", "/payments/p/captures", "d", `{"amount":700,"currency":"EUR"}`, 422, "captures would exceed", true},
		{"till", "/payments/p/captures", "c", `{"amount":600,"currency":"EUR"}`, 200, `"state":"captured"`, false},
		{"shop", "/payments/p/captures", "c", `{"amount":400,"currency":"EUR"}`, 200, `"captured":400`, true},
		{"shop", "/payments/p/refunds", "e", `{"amout":1}`, 400, "unknown field", false},
		{"shop", "/payments/p/voids", "f", ``, 422, "illegal", false},
	} {
		a := s.mustPost(t, c.caller, c.path, c.key, c.body)
		if a.status != c.status || !strings.Contains(a.body, c.says) || a.replayed != c.replayed {
			t.Errorf("request %d: %+v, want %d %s, replayed: %t", i, a, c.status, c.says, c.replayed)
		}
	}
}

// TestAPIAfterExpiry repeats a request when its response has expired: the history proves that
// the payment has moved, and the answer comes from the row.
func TestAPIAfterExpiry(t *testing.T) {
	t.Parallel()
	s := startSite(t)
	s.mustPost(t, "shop", "/payments/p/authorizations", "a", `{"amount":1000,"currency":"EUR"}`)
	for i, key := range []string{"b", "c", "b"} {
		if i == 2 {
			if _, err := s.pool.Exec(t.Context(), `UPDATE pawl.responses SET expires_at = now()`); err != nil {
				t.Fatal(err)
			}
		}
		a := s.mustPost(t, "shop", "/payments/p/captures", key, `{"amount":100,"currency":"EUR"}`)
		if want := fmt.Sprintf(`"captured":%d,`, min(i+1, 2)*100); a.status != 200 || !strings.Contains(a.body, want) || a.replayed {
			t.Errorf("request %d: %+v, want %s", i, a, want)
		}
	}
	a := s.mustPost(t, "shop", "/payments/p/captures", "c", `{"amount":200,"currency":"EUR"}`)
	if a.status != 409 || !strings.Contains(a.body, "message_taken") {
		t.Errorf("an expired key with another body: %+v", a)
	}
	// The refusal was not stored, so the first request with the key still gets its answer.
	a = s.mustPost(t, "shop", "/payments/p/captures", "c", `{"amount":100,"currency":"EUR"}`)
	if a.status != 200 || !strings.Contains(a.body, `"captured":200,`) || a.replayed {
		t.Errorf("the request that was made with the key: %+v", a)
	}
}

// TestAPIAndWorker moves one payment by requests, which impatient clients send again and
// again, and by records of the topic, which are there twice: each capture counts once.
func TestAPIAndWorker(t *testing.T) {
	t.Parallel()
	s := startSite(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "payments"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() {
		worked <- work(ctx, workerConfig{
			brokers: cluster.ListenAddrs(), databaseURL: s.pool.Config().ConnString(), topic: "payments", group: "g", clientID: "w",
			logger: slog.New(slog.DiscardHandler),
		})
	}()
	defer func() {
		stop()
		if err := <-worked; err != nil {
			t.Errorf("work: %v", err)
		}
	}()
	const each = 30
	s.mustPost(t, "shop", "/payments/p/authorizations", "a", `{"amount":1000,"currency":"EUR"}`)
	if err := produce(ctx, cluster.ListenAddrs(), each); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range each {
		wait.Go(func() {
			if err := s.insist(t.Context(), fmt.Sprint("http ", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	testenv.Eventually(t, 30*time.Second, func() error { return s.wantCaptured(t.Context(), 2*each) })
}

// insist captures 1 until it gets an answer twice, the same one. Its patience is short at
// first.
func (s *site) insist(ctx context.Context, key string) error {
	var first string
	for n := range 2000 {
		attempt, cancel := context.WithTimeout(ctx, time.Duration(n+1)*2*time.Millisecond)
		a, err := s.post(attempt, "shop", "/payments/p/captures", key, `{"amount":1,"currency":"EUR"}`)
		cancel()
		switch {
		case err != nil || a.status == http.StatusConflict || a.status >= 500:
		case a.status != http.StatusOK || first != "" && a.body != first:
			return fmt.Errorf("%s: %+v, after %q", key, a, first)
		case first != "":
			return nil
		default:
			first = a.body
		}
	}
	return errors.New(key + ": no answer")
}

// produce writes captures of 1 to the topic, each twice.
func produce(ctx context.Context, brokers []string, n int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range 2 * n {
		value, err := json.Marshal(map[string]any{"type": PaymentCaptured, "payment": "p", "amount": 1, "currency": "EUR"})
		if err != nil {
			return err
		}
		record := &kgo.Record{Topic: "payments", Value: value, Headers: []kgo.RecordHeader{
			{Key: "ce_source", Value: []byte("test")}, {Key: "ce_id", Value: fmt.Append(nil, i%n)},
		}}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// wantCaptured checks the payment's row.
func (s *site) wantCaptured(ctx context.Context, want int) error {
	var captured, version, steps int
	err := s.pool.QueryRow(ctx, `
SELECT captured, version, (SELECT count(*) FROM pawl.transitions) FROM payments.payments`).Scan(&captured, &version, &steps)
	if err == nil && (captured != want || version != want+1 || steps != want+1) {
		err = fmt.Errorf("%d are captured, version %d, %d steps; want %d", captured, version, steps, want)
	}
	return err
}
