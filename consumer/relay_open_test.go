package consumer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// clocking returns a machine that emits to a topic when each record was produced.
func clocking(topic string) *statemachine.Machine {
	tick := statemachine.Do(func(f *statemachine.Firing, c *counter, produced int64) error {
		c.N++
		f.Emit(topic, produced)
		return nil
	})
	return statemachine.MustCompile(statemachine.Definition{
		Name: "m", Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "go", To: "on", Do: tick},
			{Event: "go", From: statemachine.In("on"), To: "on", Do: tick},
			{Event: "end", From: statemachine.In("on"), To: "off"},
		},
		Terminal: statemachine.In("off"),
	})
}

// TestRelayWithOpenTransactions keeps a transaction open that has emitted messages, and another
// one that holds a snapshot, while a worker relays two hundred messages a second: the messages
// still arrive, and afterwards the outbox has the size that it had before. It runs for
// $PAWL_OPEN_TRANSACTIONS, and then the messages must arrive within a second; or for three
// seconds, beside other tests.
func TestRelayWithOpenTransactions(t *testing.T) {
	t.Parallel()
	forHowLong, limit := 3*time.Second, 20*time.Second
	if s := os.Getenv("PAWL_OPEN_TRANSACTIONS"); s != "" {
		var err error
		if forHowLong, err = time.ParseDuration(s); err != nil {
			t.Fatalf("PAWL_OPEN_TRANSACTIONS: %v", err)
		}
		limit = time.Second
	}
	things, ticks := testenv.Topic(t, 4), testenv.Topic(t, 4)
	pool := testenv.Pool(t, withCounters)
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: clocking(ticks), Name: "counters"})
	if err != nil {
		t.Fatal(err)
	}
	before := outboxSize(t, pool)
	w := start(t, consumer.Config{
		Client: testenv.KafkaOpts(t), Group: things + "-workers", Topics: []string{things}, Store: store,
		Decode: func(r *versioning.Record) ([]versioning.Change, error) {
			return []versioning.Change{{Key: string(r.Key), Event: "go", Data: int64(binary.BigEndian.Uint64(r.Value))}}, nil
		},
	})
	client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.ConsumeTopics(ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	produce := func(entity int) {
		value := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
		client.Produce(t.Context(), &kgo.Record{Topic: things, Key: fmt.Append(nil, "e", entity), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	produce(0)
	testenv.Eventually(t, time.Minute, func() error {
		if len(receive(t, client)) == 0 {
			return errors.New("the first message has not arrived")
		}
		return nil
	})

	others := openTransactions(t, pool)
	done := make(chan int, 1)
	go func() {
		sent, ticker := 0, time.NewTicker(50*time.Millisecond)
		defer ticker.Stop()
		for until := time.Now().Add(forHowLong); time.Now().Before(until); <-ticker.C {
			for range 10 {
				produce(sent % 10_000) // the snapshot keeps all versions of their rows
				sent++
			}
		}
		done <- sent
	}()
	var took []time.Duration
	for sent, last := -1, time.Now(); sent < 0 || len(took) < sent; {
		select {
		case sent = <-done:
		default:
		}
		some := receive(t, client)
		if took = append(took, some...); len(some) > 0 {
			last = time.Now()
		} else if time.Since(last) > time.Minute {
			t.Fatalf("%d messages have arrived, and no more for a minute; %d were sent", len(took), sent)
		}
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d messages: p50 %v, p99 %v, at most %v", len(took), took[len(took)/2], p99, took[len(took)-1])
	if p99 > limit {
		t.Errorf("p99 from produced to received: %v", p99)
	}
	if grown := outboxSize(t, pool); grown <= before {
		t.Errorf("the outbox has %d bytes, as before: its transactions did not stay open", grown)
	}
	for _, tx := range others {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, time.Minute, func() error {
		if after := outboxSize(t, pool); after > before {
			return fmt.Errorf("the outbox has %d bytes; it had %d", after, before)
		}
		return nil
	})
	w.stop()
}

// receive returns how long the next messages have taken; none if none arrives for a while.
func receive(t *testing.T, client *kgo.Client) (took []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		var produced int64
		if _, err := fmt.Sscan(string(r.Value), &produced); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(time.Unix(0, produced)))
	})
	return took
}

// openTransactions begins one that has emitted, like a worker whose host has frozen, and one
// that holds a snapshot.
func openTransactions(t *testing.T, pool *pgxpool.Pool) (all []pgx.Tx) {
	t.Helper()
	own, err := pgxpool.NewWithConfig(t.Context(), pool.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	for level, statement := range map[pgx.TxIsoLevel]string{
		pgx.ReadCommitted:  `INSERT INTO pawl.outbox (token, slot, lane, n, messages) VALUES (1, 3, 0, 1, '')`,
		pgx.RepeatableRead: `SELECT count(*) FROM counters`,
	} {
		tx, err := own.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		if _, err := tx.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		all = append(all, tx)
	}
	return all
}

// outboxSize returns the size of the outbox with its indexes.
func outboxSize(t *testing.T, pool *pgxpool.Pool) (size int64) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `
SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) FROM pg_inherits WHERE inhparent = 'pawl.outbox'::regclass`).Scan(&size)
	if err != nil {
		t.Fatal(err)
	}
	return size
}
