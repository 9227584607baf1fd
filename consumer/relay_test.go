package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

type counter struct {
	N int64 `db:"n"`
}

// counting emits the number of each event to the topic "counts".
var counting = statemachine.MustCompile(statemachine.Definition{
	Name: "m", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "go", To: "on", Do: statemachine.Do(count)},
		{Event: "go", From: statemachine.In("on"), To: "on", Do: statemachine.Do(count)},
		{Event: "end", From: statemachine.In("on"), To: "off"},
	},
	Terminal: statemachine.In("off"),
})

func count(f *statemachine.Firing, c *counter, _ struct{}) error {
	c.N++
	f.Emit("counts", c.N)
	return nil
}

var withCounters = testenv.Template("counters", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE counters (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL, n bigint NOT NULL DEFAULT 0)`)
	return errors.Join(err, conn.Close(ctx))
})

// TestWorkerRelays checks that workers publish what their transitions emit, and that one with
// NoRelay does not.
func TestWorkerRelays(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "things", "counts"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	pool := testenv.Pool(t, withCounters)
	store := func() *postgres.Store {
		s, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: counting, Name: "counters"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	producer, err := kgo.NewClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	const entities, each = 10, 30
	produce := func() {
		t.Helper()
		for range each {
			for e := range entities {
				r := &kgo.Record{Topic: "things", Key: fmt.Append(nil, "e", e)}
				if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cfg := consumer.Config{Client: []kgo.Opt{brokers}, Group: group, Topics: []string{"things"}, Store: store(), Decode: decodeKey, NoRelay: true}
	silent := start(t, cfg)
	produce()
	testenv.Eventually(t, time.Minute, func() error {
		depth, err := store().OutboxDepth(t.Context())
		if err == nil && depth.Messages != entities*each {
			err = fmt.Errorf("the outbox has %d messages, not %d", depth.Messages, entities*each)
		}
		return err
	})
	silent.stop()
	cfg.NoRelay = false
	workers := []*running{start(t, cfg)}
	cfg.Store = store()
	workers = append(workers, start(t, cfg))
	produce()

	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics("counts"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := make(map[string]int64)
	for seen := 0; seen < 2*entities*each && ctx.Err() == nil; {
		for _, r := range reader.PollFetches(ctx).Records() {
			var n int64
			if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
				t.Fatal(err)
			}
			switch want := next[string(r.Key)] + 1; {
			case n == want:
				next[string(r.Key)]++
				seen++
			case n > want:
				t.Fatalf("entity %s: message %d comes in the place of %d", r.Key, n, want)
			}
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("not all messages have arrived: %v", next)
	}
	for _, w := range workers {
		for h := w.worker.Health(); h.State != consumer.Consuming; h = w.worker.Health() { // it may not have joined yet
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("health: %+v", h)
			}
		}
		w.stop()
	}
	depth, err := store().OutboxDepth(t.Context())
	if err != nil || depth != (versioning.OutboxDepth{}) {
		t.Errorf("outbox: %+v, %v", depth, err)
	}
}

// TestRelayTrouble checks that the worker's health tells of messages that can't be published,
// while it consumes, and that a relay that lacks a privilege is tried again.
func TestRelayTrouble(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "things"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	pool := testenv.Pool(t, withCounters)
	role := pgx.Identifier{"relay_" + pool.Config().ConnConfig.Database[:20]}.Sanitize()
	grant := `CREATE ROLE ` + role + `; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pawl, public TO ` + role +
		`; GRANT USAGE ON SCHEMA pawl TO ` + role + `; GRANT USAGE ON ALL SEQUENCES IN SCHEMA pawl TO ` + role
	if _, err := pool.Exec(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	config := pool.Config()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET ROLE `+role)
		return err
	}
	restricted, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		restricted.Close()
		if _, err := pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	store, err := postgres.Open(t.Context(), restricted, postgres.Table{Machine: counting, Name: "counters"})
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, consumer.Config{
		Client: []kgo.Opt{brokers}, Group: group, Topics: []string{"things"}, Store: store, Decode: decodeKey, RetryMax: 200 * time.Millisecond,
	})
	wantHealth := func(state consumer.HealthState, text, topic string) {
		t.Helper()
		testenv.Eventually(t, 30*time.Second, func() error {
			h := w.worker.Health()
			if h.State != state || h.Partition != topic || !strings.Contains(fmt.Sprint(h.Err), text) {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
	}
	wantHealth(consumer.Troubled, "lacks TRUNCATE", "")
	if _, err := pool.Exec(t.Context(), `GRANT TRUNCATE ON ALL TABLES IN SCHEMA pawl TO `+role); err != nil {
		t.Fatal(err)
	}
	wantHealth(consumer.Consuming, "", "")
	producer, err := kgo.NewClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "things", Key: []byte("e1")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	wantHealth(consumer.Troubled, "UNKNOWN_TOPIC_OR_PARTITION", "counts")
	if err := cluster.CreateTopic("counts", 1, nil); err != nil {
		t.Fatal(err)
	}
	wantHealth(consumer.Consuming, "", "")
	w.stop()
}

// TestRelayOptions checks that New reports options with which a relay can't work.
func TestRelayOptions(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, withCounters)
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: counting, Name: "counters"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := consumer.Config{
		Client: []kgo.Opt{kgo.SeedBrokers("localhost:1"), kgo.DisableIdempotentWrite(), kgo.FetchMaxBytes(1 << 20), kgo.SessionTimeout(time.Minute)},
		Group:  group, Topics: []string{"things"}, Store: store, Decode: decodeKey,
	}
	if _, err := consumer.New(cfg); !errors.Is(err, consumer.ErrConfig) || !strings.Contains(fmt.Sprint(err), "DisableIdempotentWrite") {
		t.Errorf("New = %v", err)
	}
	cfg.NoRelay = true
	if _, err := consumer.New(cfg); err != nil {
		t.Errorf("New without a relay = %v", err)
	}
}
