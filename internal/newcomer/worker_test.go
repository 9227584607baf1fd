package newcomer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// within is how long a message may take.
const within = time.Minute

// A worker is the configuration of a test's worker.
type worker struct {
	brokers []string
	topic   string
	store   consumer.Store
	decode  consumer.DecodeFunc
}

// A running is a running worker with its log.
type running struct {
	t *testing.T

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs a worker until the test ends.
func start(t *testing.T, w worker) *running {
	t.Helper()
	r := &running{t: t}
	if w.decode == nil {
		w.decode = change("order-1", "order.placed")
	}
	cfg := consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(w.brokers...)}, Group: "shop", Topics: []string{w.topic},
		Store: w.store, Decode: w.decode, SweepEvery: -1,
		Logger: slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
	}
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	return a
}

// Write appends a line to the log.
func (r *running) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

// await returns the first line of the log that contains a text.
func (r *running) await(text string) (found string) {
	r.t.Helper()
	testenv.Eventually(r.t, within, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for line := range strings.Lines(r.log.String()) {
			if strings.Contains(line, text) {
				found = strings.TrimSpace(line)
				return nil
			}
		}
		return fmt.Errorf("no line has %q:\n%s", text, r.log.String())
	})
	return found
}

// deadLetter lets a worker consume one record. It returns the worker's log line about it
// and the dead letter's detail.
func deadLetter(t *testing.T, sql string, decode consumer.DecodeFunc, tables ...postgres.Table) []string {
	t.Helper()
	w, store := consumeOne(t, sql, decode, tables...)
	lines := []string{w.await("dead-lettered")}
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{Limit: 1})
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	detail, _, _ := strings.Cut(letters[0].Outcome.Detail, "\n") // without the stack of a panic
	return append(lines, fmt.Sprintf("detail of the dead letter: %s", detail))
}

// parked lets a worker consume one record, with a row that another program has made since the
// store was opened for the first time. It returns the worker's log line about it and
// the parked record's reason.
func parked(t *testing.T, sql string, decode consumer.DecodeFunc) []string {
	t.Helper()
	pool := testenv.Pool(t, migrated)
	exec := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(createOrders)
	store, err := postgres.Open(t.Context(), pool, orders)
	if err != nil {
		t.Fatal(err)
	}
	exec(sql)
	w := consume(t, store, decode)
	line := w.await("record parked")
	records, err := store.Parked(t.Context(), postgres.ParkedFilter{Limit: 1})
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	return []string{line, fmt.Sprintf("reason of the parked record: %s", records[0].Reason)}
}

// consumeOne starts a worker on a topic with one record.
func consumeOne(t *testing.T, sql string, decode consumer.DecodeFunc, tables ...postgres.Table) (*running, *postgres.Store) {
	t.Helper()
	pool := testenv.Pool(t, migrated)
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), pool, tables...)
	if err != nil {
		t.Fatal(err)
	}
	return consume(t, store, decode), store
}

// consume starts a worker on a topic with one record.
func consume(t *testing.T, store *postgres.Store, decode consumer.DecodeFunc) *running {
	t.Helper()
	addresses := brokers(t, "orders")
	produce(t, addresses, &kgo.Record{Topic: "orders", Key: []byte("order-1"), Value: []byte("{}")})
	return start(t, worker{brokers: addresses, topic: "orders", store: store, decode: decode})
}

// brokers starts Kafka with one topic.
func brokers(t *testing.T, topic string) []string {
	t.Helper()
	kafka, err := embedded.StartKafka(embedded.KafkaConfig{Topics: map[string]int32{topic: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Close(); err != nil {
			t.Error(err)
		}
	})
	return kafka.Brokers()
}

func produce(t *testing.T, brokers []string, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// lazyPool returns a pool that connects when it is used.
func lazyPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// memory returns a store that needs no database.
func memory() consumer.Store {
	return versioningtest.NewMemory(versioning.Rules{Machine: order})
}
