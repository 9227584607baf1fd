package promtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	orders    = "orders"
	shipments = "shipments"
)

// A shop is the example orderflow: its worker and its payment provider, as processes. Beside it
// is an HTTP API with a gateway.
type shop struct {
	*server

	kafka  *kfake.Cluster
	pool   *pgxpool.Pool
	client *kgo.Client
	api    *api

	mu   sync.Mutex
	next int // number of the next order
}

// openShop builds the example and starts it, with a customer who orders all the time.
func openShop(t *testing.T) *shop {
	t.Helper()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, orders, shipments))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	brokers, url := strings.Join(kafka.ListenAddrs(), ","), testenv.Postgres(t)
	program := filepath.Join(t.TempDir(), "orderflow")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../../examples/orderflow", "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	if out, err := exec.CommandContext(t.Context(), program, "migrate", "up", "--database-url", url).CombinedOutput(); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	provider, listen := testenv.FreeAddress(t), testenv.FreeAddress(t)
	start(t, program, "provider", "--faults=false", "--listen", provider)
	start(t, program, "worker", "--brokers", brokers, "--database-url", url, "--listen", listen, "--provider", "http://"+provider,
		"--count-every", "250ms", "--max-batch", "50", "--client-id", "worker", "--pay-within", "300ms")

	s := &shop{kafka: kafka}
	if s.pool, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	if s.client, err = kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.DefaultProduceTopic(orders)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	testenv.Eventually(t, time.Minute, func() error { return ready(t.Context(), "http://"+listen+"/readyz") })
	s.api = openAPI(t)
	s.server = startServer(t, target{"orderflow", "http://" + listen + "/metrics"}, target{"api", s.api.url + "/metrics"})
	during(t, 100*time.Millisecond, s.trade)
	during(t, 50*time.Millisecond, s.api.use)
	return s
}

func ready(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is %s", url, response.Status)
	}
	return nil
}

// start runs a command of the example until the end of the test.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = io.Discard, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
		if t.Failed() {
			text := log.String()
			t.Logf("log of %s:\n%s", args[0], text[max(0, len(text)-4000):])
		}
	})
}

// during calls do again and again until stop is called, or the test ends.
func during(t *testing.T, every time.Duration, do func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("during the test: %v", err)
				return
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// trade places an order, and ships one that was placed two seconds ago. Every tenth customer can't
// pay, so that their orders expire.
func (s *shop) trade(ctx context.Context) error {
	s.mu.Lock()
	n := s.next
	s.next++
	s.mu.Unlock()
	records := []*kgo.Record{placed(fmt.Sprint("o", n))}
	switch {
	case n%10 == 0:
		const declined = "4000000000000002" // by the provider
		records[0] = record(fmt.Sprint("o", n), "order.placed", map[string]string{"customer": "c", "total": "12.50", "card": declined})
	case n >= 20:
		records = append(records, record(fmt.Sprint("o", n-20), "order.shipped", map[string]string{"tracking": "t"}))
	}
	return s.send(ctx, records...)
}

func (s *shop) send(ctx context.Context, records ...*kgo.Record) error {
	return s.client.ProduceSync(ctx, records...).FirstErr()
}

func placed(key string) *kgo.Record {
	return record(key, "order.placed", map[string]string{"customer": "c", "total": "12.50", "card": "4242"})
}

// record returns a record as the example's services send it. Its message ID is its key and event.
func record(key, event string, more map[string]string) *kgo.Record {
	message := map[string]string{"order": key, "event": event, "at": time.Now().Format(time.RFC3339Nano)}
	maps.Copy(message, more)
	text, err := json.Marshal(message)
	if err != nil {
		panic(err) // strings can be encoded
	}
	return &kgo.Record{Key: []byte(key), Value: text, Headers: []kgo.RecordHeader{
		{Key: "ce_source", Value: []byte("/promtest")}, {Key: "ce_id", Value: []byte(key + "/" + event)},
	}}
}

// exec runs SQL.
func (s *shop) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
