package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// expect fails the test unless the worker is in the given state and both probes agree.
func (r *running) expect(state consumer.HealthState) consumer.Health {
	r.t.Helper()
	h := r.worker.Health()
	if h.State != state {
		r.t.Errorf("the worker is %+v, want %s", h, state)
	}
	live, ready := http.StatusOK, http.StatusServiceUnavailable
	switch state {
	case consumer.Consuming:
		ready = http.StatusOK
	case consumer.Stopped:
		live = http.StatusServiceUnavailable
	case consumer.Starting, consumer.Troubled:
	}
	for path, want := range map[string]int{"/healthz": live, "/readyz": ready} {
		if got, body := probe(r.worker, path); got != want || body["state"] != string(state) {
			r.t.Errorf("%s of a worker that is %s = %d %v, want %d", path, state, got, body, want)
		}
	}
	return h
}

func (r *running) awaitState(want consumer.HealthState, within time.Duration) {
	r.t.Helper()
	await(r.t, within, func() error {
		if h := r.worker.Health(); h.State != want {
			return fmt.Errorf("the worker is %+v, not %s", h, want)
		}
		return nil
	})
}

func probe(w *consumer.Worker, path string) (status int, body map[string]any) {
	out := httptest.NewRecorder()
	w.Handler().ServeHTTP(out, httptest.NewRequest(http.MethodGet, path, nil))
	_ = json.Unmarshal(out.Body.Bytes(), &body)
	return out.Code, body
}

// A worker is not ready before it has joined. Then it is ready, with records or without. Once
// it has stopped, it is not live.
func TestHealthOfAHealthyWorker(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		cfg := b.config(protocol, newFake(), "orders")
		idle, err := consumer.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		(&running{t: t, worker: idle}).expect(consumer.Starting)
		began := time.Now()
		w := start(t, cfg)
		w.awaitState(consumer.Consuming, 10*time.Second)
		pass(10 * time.Minute) // having nothing to do is not trouble
		if h := w.expect(consumer.Consuming); h.Lag != 0 || h.Partitions != 1 || !h.LastProgress.IsZero() || h.Since.After(began.Add(10*time.Second)) || h.Reason != "" {
			t.Errorf("idle: %+v", h)
		}
		b.produce("orders", 0, keys(100)...)
		b.awaitCommitted("orders", 0, 100)
		if h := w.expect(consumer.Consuming); h.Lag != 0 || time.Since(h.LastProgress) > time.Minute {
			t.Errorf("after 100 records: %+v", h)
		}
		pass(10 * time.Minute)
		w.expect(consumer.Consuming)
		spare := start(t, cfg) // more workers than partitions
		spare.awaitState(consumer.Consuming, 15*time.Second)
		pass(10 * time.Minute)
		if h := spare.expect(consumer.Consuming); h.Partitions+w.expect(consumer.Consuming).Partitions != 1 {
			t.Errorf("two workers on one partition: the second is %+v", h)
		}
		if n := len(w.logs.matching("no progress")); n != 0 {
			t.Errorf("%d lines say that a healthy worker makes no progress", n)
		}
		spare.stop()
		w.stop()
		if h := w.expect(consumer.Stopped); h.Err != nil {
			t.Errorf("after a clean stop: %+v", h)
		}
	})
}

// While the database is down a worker is live but not ready, and reports why and since when.
// The first write makes it ready again.
func TestHealthWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		store.on(func(context.Context, []*versioning.Record) (int, error) { return 0, errDown })
		w := start(t, b.config(protocol, store, "orders"))
		w.awaitState(consumer.Consuming, 10*time.Second)
		began := time.Now()
		b.produce("orders", 0, keys(40)...)
		w.awaitState(consumer.Troubled, time.Second)
		pass(10 * time.Minute)
		h := w.expect(consumer.Troubled)
		if h.Since.Sub(began) > time.Second || h.Lag != 40 || !errors.Is(h.Err, errDown) || h.Partition != "orders/0" {
			t.Errorf("ten minutes without a database: %+v", h)
		}
		_, body := probe(w.worker, "/readyz")
		if body["reason"] != "database in trouble; retrying" || body["error"] != errDown.Error() || body["lag"] != 40.0 || body["partition"] != "orders/0" {
			t.Errorf("readyz says %v", body)
		}
		lines := w.logs.matching("database in trouble", "partition=orders/0", "lag=40", "error=database is down", "since=")
		if len(lines) < 3 || len(lines) > 15 {
			t.Errorf("%d lines in ten minutes, want about one a minute", len(lines))
		}
		store.on(nil)
		w.awaitState(consumer.Consuming, 15*time.Second)
		b.awaitCommitted("orders", 0, 40)
		if h := w.expect(consumer.Consuming); h.Since.Before(began.Add(10*time.Minute)) || h.Err != nil {
			t.Errorf("after the recovery: %+v", h)
		}
		w.stop()
	})
}

// A write that never fails and never ends, such as one that waits for a lock, makes the worker
// Troubled after StalledAfter.
func TestHealthWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		release := make(chan struct{})
		store.on(func(context.Context, []*versioning.Record) (int, error) { <-release; return -1, nil })
		cfg := b.config(consumer.Classic, store, "orders")
		cfg.ApplyTimeout, cfg.StalledAfter = -1, 20*time.Second
		w := start(t, cfg)
		w.awaitState(consumer.Consuming, 10*time.Second)
		b.produce("orders", 0, keys(3)...)
		pass(15 * time.Second)
		if h := w.expect(consumer.Consuming); h.Lag != 3 {
			t.Errorf("after 15s: %+v, want a lag of 3", h)
		}
		pass(15 * time.Second)
		if h := w.expect(consumer.Troubled); time.Since(h.Since) < 25*time.Second || h.Reason != "no progress although there is lag" || h.Partition != "orders/0" {
			t.Errorf("after 30s: %+v", h)
		}
		if n := len(w.logs.matching("no progress", "lag=3", "partition=orders/0")); n == 0 {
			t.Error("no line says so")
		}
		close(release)
		w.awaitState(consumer.Consuming, time.Second)
		w.stop()
	})
}

// If the broker goes away, or was never there, the worker is live but not ready.
func TestHealthWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		w := start(t, b.config(protocol, newFake(), "orders"))
		w.awaitState(consumer.Consuming, 10*time.Second)
		b.Close()
		w.awaitState(consumer.Troubled, 90*time.Second)
		pass(10 * time.Minute)
		h := w.expect(consumer.Troubled)
		if time.Since(h.Since) < 9*time.Minute || h.Err == nil {
			t.Errorf("eleven minutes without a broker: %+v", h)
		}
		if n := len(w.logs.matching("no broker answers", "since=", "error=")); n < 3 || n > 15 {
			t.Errorf("%d lines in ten minutes, want about one a minute", n)
		}
		late := start(t, b.config(protocol, newFake(), "orders"))
		late.awaitState(consumer.Troubled, 20*time.Second)
		late.expect(consumer.Troubled)
		late.stop()
		w.stop()
		w.expect(consumer.Stopped)
	})
}

// A missing topic is trouble, and the health names it, although the others are consumed. The
// trouble ends once the topic is created.
func TestHealthWhileATopicIsMissing(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		began := time.Now()
		w := start(t, b.config(protocol, newFake(), "orders", "paymnets", "refunds"))
		b.produce("orders", 0, keys(3)...)
		b.awaitCommitted("orders", 0, 3)
		w.awaitState(consumer.Troubled, 10*time.Second)
		pass(10 * time.Minute)
		h := w.expect(consumer.Troubled)
		if h.Reason != "topic does not exist; create it" || h.Partition != "paymnets" || !errors.Is(h.Err, kerr.UnknownTopicOrPartition) || h.Since.Sub(began) > 10*time.Second {
			t.Errorf("ten minutes without two topics: %+v", h)
		}
		if _, body := probe(w.worker, "/readyz"); body["partition"] != "paymnets" || body["reason"] != h.Reason {
			t.Errorf("readyz says %v", body)
		}
		b.topic("paymnets", 1)
		pass(10 * time.Second)
		if h := w.expect(consumer.Troubled); h.Partition != "refunds" || h.Since.Sub(began) > 10*time.Second {
			t.Errorf("without one topic: %+v", h)
		}
		b.topic("refunds", 1)
		w.awaitState(consumer.Consuming, 10*time.Second)
		pass(10 * time.Minute)
		if h := w.expect(consumer.Consuming); h.Partition != "" || h.Err != nil || h.Since.Sub(began) < 10*time.Minute {
			t.Errorf("with all topics: %+v", h)
		}
		w.stop()
	})
}

// A worker that the group has given up is not ready until it has joined again.
func TestHealthOutsideTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		w := start(t, b.config(consumer.Classic, newFake(), "orders"))
		w.awaitState(consumer.Consuming, 10*time.Second)
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorLoadInProgress, Count: 20})
		await(t, time.Minute, func() error {
			if w.worker.Health().Ready() {
				return errors.New("the worker is ready outside its group")
			}
			return nil
		})
		w.awaitState(consumer.Consuming, 5*time.Minute)
		w.stop()
	})
}

// Markers of transactions have offsets but do not count as lag.
func TestHealthAfterTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		producer := b.newClient(kgo.TransactionalID("producer"))
		for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
			if err := producer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: []byte("k")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := producer.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		w := start(t, b.config(consumer.Classic, newFake(), "orders"))
		b.awaitCommitted("orders", 0, 4)
		pass(10 * time.Minute)
		if h := w.expect(consumer.Consuming); h.Lag != 0 {
			t.Errorf("the worker is %+v, want no lag", h)
		}
		w.stop()
	})
}

// A partition whose end is hidden by a producer's open transaction is trouble once the
// transaction has been open for StalledAfter. What it hides counts as lag.
func TestHealthDuringATransaction(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 2)
		b.produce("orders", 0, "a")
		w := start(t, b.config(protocol, newFake(), "orders"))
		b.awaitCommitted("orders", 0, 1)
		producer := b.newClient(kgo.TransactionalID("producer"), kgo.TransactionTimeout(15*time.Minute))
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: []byte("k")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		b.produce("orders", 0, keys(98)...)
		began := time.Now()
		pass(30 * time.Second)
		w.expect(consumer.Consuming)
		w.awaitState(consumer.Troubled, 3*time.Minute)
		h := w.expect(consumer.Troubled)
		if h.Reason != "waiting for an open transaction of a producer" || h.Partition != "orders/0" || h.Lag != 99 || h.Since.Sub(began) > 2*time.Minute {
			t.Errorf("with an open transaction: %+v", h)
		}
		if n := len(w.logs.matching("open transaction", "partition=orders/0", "lag=99")); n == 0 {
			t.Error("no line says so")
		}
		if err := producer.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		b.awaitCommitted("orders", 0, 101)
		w.awaitState(consumer.Consuming, 10*time.Second)
		pass(10 * time.Minute)
		if h := w.expect(consumer.Consuming); h.Lag != 0 {
			t.Errorf("after the transaction: %+v", h)
		}
		w.stop()
	})
}

// After Run has returned, the health reports its error.
func TestHealthAfterAFatalError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t)
		b.topic("orders", 1)
		b.produce("orders", 0, "a")
		store := newFake()
		store.on(func(context.Context, []*versioning.Record) (int, error) {
			return 0, &versioning.Error{Cause: versioning.Fatal, Err: errors.New("relation does not exist")}
		})
		w := start(t, b.config(consumer.Classic, store, "orders"))
		if err := w.wait(); err == nil {
			t.Fatal("Run = nil")
		}
		if h := w.expect(consumer.Stopped); h.Err == nil || !strings.Contains(h.Err.Error(), "relation does not exist") {
			t.Errorf("the health does not report the error: %+v", h)
		}
	})
}
