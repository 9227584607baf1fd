package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

const megabyte = 1 << 20

// squeezed is a record of about a megabyte that takes a hundred bytes on the wire.
func squeezed(topic string) *kgo.Record {
	return &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte("a"), 999_000)}
}

// The memory of unpacked records is limited, however well they were compressed: all of these
// arrive in one fetch of a few kilobytes. PAWL_TEST_SQUEEZED sets their number, for manual
// tests.
func TestSqueezed(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	n := 200
	if more, err := strconv.Atoi(os.Getenv("PAWL_TEST_SQUEEZED")); err == nil {
		n = more
	}
	pool := testenv.Pool(t, doors)
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: door, Name: "doors"})
	if err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t, 1)
	client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerLinger(0))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range n {
		if err := client.ProduceSync(t.Context(), squeezed(topic)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var peak atomic.Uint64
	measure := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for old := peak.Load(); m.HeapInuse > old && !peak.CompareAndSwap(old, m.HeapInuse); old = peak.Load() {
		}
	}
	began := time.Now()
	runWorker(t, consumer.Config{
		Client: testenv.KafkaOpts(t), Group: topic, Topics: []string{topic}, Store: store, MaxUnpacked: 8 * megabyte,
		Decode: func(*versioning.Record) ([]versioning.Change, error) { measure(); return nil, errors.New("refused") },
	})
	testenv.Eventually(t, 5*time.Minute, func() error {
		measure()
		var dead int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pawl.dead_letters`).Scan(&dead)
		if err == nil && dead != n {
			err = fmt.Errorf("%d dead letters, want %d", dead, n)
		}
		return err
	})
	t.Logf("%d records in %v, at most %d MB of heap", n, time.Since(began), peak.Load()/megabyte)
	if peak.Load() > 200*megabyte {
		t.Errorf("the heap grew to %d MB, want 200 at most", peak.Load()/megabyte)
	}
}

// However little is unpacked at once, every record of every partition arrives in order, and
// the size of one call of the store is limited.
func TestSqueezedPartitions(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		const partitions, each = 5, 12
		b := startBroker(t)
		b.topic("orders", partitions)
		// Not zstd: its decoder is closed by a finalizer, outside of the bubble.
		producer := b.newClient(kgo.ProducerBatchCompression(kgo.GzipCompression()))
		for range each {
			for p := range int32(partitions) {
				r := squeezed("orders")
				r.Partition, r.Key = p, []byte(fmt.Sprint("p", p))
				if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		store := newFake()
		var most atomic.Int64
		store.on(func(_ context.Context, records []*versioning.Record) (int, error) {
			most.Store(max(most.Load(), int64(len(records))))
			return -1, nil
		})
		cfg := b.config(protocol, store, "orders")
		cfg.MaxUnpacked = 40 * megabyte
		w := start(t, cfg)
		for p := range int32(partitions) {
			b.awaitCommitted("orders", p, each)
		}
		w.stop()
		if n := most.Load(); n > 17 {
			t.Errorf("the store was given %d MB at once", n)
		}
		for key, origins := range store.order {
			for i, origin := range origins {
				if want := fmt.Sprintf("orders/%s@%d", key[1:], i); origin != want {
					t.Errorf("record %d of %s is %s", i, key, origin)
				}
			}
		}
		if n := len(w.logs.matching("fetch failed")); n != 0 {
			t.Errorf("%d lines say that fetches failed", n)
		}
	})
}

// A batch that is too large to unpack stops its partition, and the health reports it.
func TestTooLargeToUnpack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 2)
		producer := b.newClient(kgo.ProducerBatchCompression(kgo.GzipCompression()))
		if err := producer.ProduceSync(t.Context(), squeezed("orders")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		cfg := b.config(consumer.Classic, newFake(), "orders")
		cfg.Client = append(cfg.Client, kgo.MaxDecompressBatchBytes(megabyte/2))
		w := start(t, cfg)
		w.awaitState(consumer.Troubled, time.Minute)
		b.produce("orders", 1, keys(10)...)
		b.awaitCommitted("orders", 1, 10)
		pass(10 * time.Minute)
		if h := w.expect(consumer.Troubled); h.Partition != "orders/0" || !errors.Is(h.Err, kgo.ErrMaxDecompress) {
			t.Errorf("the worker is %+v", h)
		}
		w.stop()
	})
}
