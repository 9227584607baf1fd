package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var doors = testenv.Template("doors", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE TABLE doors (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
	return errors.Join(err, conn.Close(ctx))
})

var door = statemachine.MustCompile(statemachine.Definition{
	Name: "door", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "built", To: "open"},
		{Event: "walled up", From: statemachine.In("open"), To: "gone"},
	},
	Terminal: statemachine.In("gone"),
})

// TestMaintenance runs a worker on a real store: dead letters are copied to their
// topic, with their headers and reason, also those that another worker left; and
// a record that was parked while its entity moved is applied by a sweep.
func TestMaintenance(t *testing.T) {
	ctx := t.Context()
	pool := testenv.Pool(t, doors)
	store, err := postgres.Open(ctx, pool, postgres.Table{Machine: door, Name: "doors"})
	if err != nil {
		t.Fatal(err)
	}
	topic, dead := testenv.Topic(t, 1), testenv.Topic(t, 1)
	left := &versioning.Record{
		Origin: versioning.Origin{Topic: topic, TopicID: [16]byte{9}, Offset: 7}, Value: []byte("left behind"),
		Timestamp: time.UnixMilli(1), Err: errors.New("not decoded"),
	}
	if _, err := store.Apply(ctx, "", []*versioning.Record{left}); err != nil {
		t.Fatal(err)
	}
	cfg := consumer.Config{
		Client: testenv.KafkaOpts(t), Group: topic, Topics: []string{topic}, Store: store, Decode: consumer.DecodeMessage,
		SweepEvery:      50 * time.Millisecond,
		DeadLetterTopic: func(string) string { return dead },
	}
	runWorker(t, cfg)

	client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.ConsumeTopics(dead))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	large := &versioning.Record{
		Origin: versioning.Origin{Topic: topic, TopicID: [16]byte{9}, Offset: 8}, Value: make([]byte, 999_900),
		Timestamp: time.UnixMilli(1), Err: errors.New("not decoded"),
	}
	if _, err := store.Apply(ctx, "", []*versioning.Record{large}); err != nil {
		t.Fatal(err)
	}
	produced := []*kgo.Record{
		{Topic: topic, Key: []byte("k"), Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}}},
		{Topic: topic, Value: []byte(`{"key": "front", "event": "walled up"}`)},
	}
	if err := client.ProduceSync(ctx, produced...).FirstErr(); err != nil {
		t.Fatal(err)
	}

	copies := make(map[string]map[string]string) // headers by value
	for len(copies) < 3 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			headers := make(map[string]string)
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			delete(headers, consumer.HeaderDetail)
			delete(headers, consumer.HeaderID)
			copies[string(r.Value)] = headers
		})
	}
	want := map[string]map[string]string{
		"": { // too large to be copied whole, which delays nothing
			consumer.HeaderVerdict: "rejected", consumer.HeaderReason: "undecodable", consumer.HeaderMachine: "",
			consumer.HeaderEntity: "", consumer.HeaderTopic: topic, consumer.HeaderPartition: "0", consumer.HeaderOffset: "8",
			consumer.HeaderTruncated: "true",
		},
		"left behind": {
			consumer.HeaderVerdict: "rejected", consumer.HeaderReason: "undecodable", consumer.HeaderMachine: "",
			consumer.HeaderEntity: "", consumer.HeaderTopic: topic, consumer.HeaderPartition: "0", consumer.HeaderOffset: "7",
		},
		"{": {
			"trace": "abc", consumer.HeaderVerdict: "rejected", consumer.HeaderReason: "undecodable", consumer.HeaderMachine: "",
			consumer.HeaderEntity: "", consumer.HeaderTopic: topic, consumer.HeaderPartition: "0",
			consumer.HeaderOffset: fmt.Sprint(produced[0].Offset),
		},
	}
	if diff := cmp.Diff(want, copies); diff != "" {
		t.Errorf("copies of dead letters (-want +got):\n%s", diff)
	}

	testenv.Eventually(t, 10*time.Second, func() error {
		return exactlyOne(ctx, pool, `SELECT count(*) FROM pawl.parked`)
	})
	if _, err := pool.Exec(ctx, `INSERT INTO doors VALUES ('front', 'open', 1)`); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		return exactlyOne(ctx, pool, `SELECT count(*) FROM doors WHERE state = 'gone' AND version = 2`)
	})
	// A copy is in the topic before its letter is marked.
	testenv.Eventually(t, 10*time.Second, func() error {
		return exactlyOne(ctx, pool, `SELECT 1 + count(*) FROM pawl.dead_letters WHERE copied_at IS NULL`)
	})
	testRedrive(t, cfg, store)
}

func exactlyOne(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, query string,
) error {
	var n int
	if err := db.QueryRow(ctx, query).Scan(&n); err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%s: %d, want 1", query, n)
	}
	return nil
}

// testRedrive checks that a redrive decodes a letter as the worker does: a change has the
// message ID of the headers, and a panic is the verdict of its letter.
func testRedrive(t *testing.T, cfg consumer.Config, store *postgres.Store) {
	t.Helper()
	letters, err := store.DeadLetters(t.Context(), postgres.DeadLetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for name, decode := range map[string]consumer.DecodeFunc{
		"the worker's": cfg.Decode,
		"a panic":      func(*versioning.Record) ([]versioning.Change, error) { panic(errBug) },
	} {
		outcomes, err := store.DryRedrive(t.Context(), letters, decode)
		if err != nil || len(outcomes) != len(letters) {
			t.Fatalf("%s: %d verdicts on %d letters, %v", name, len(outcomes), len(letters), err)
		}
		for _, o := range outcomes {
			if o.Reason != versioning.ReasonUndecodable || strings.HasPrefix(o.Detail, "Decode panicked: a bug") != (name == "a panic") {
				t.Errorf("%s: redriven: %+v", name, o)
			}
		}
	}
	fixed := func(*versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Key: "back", Event: "built"}}, nil
	}
	first := letters[:1]
	first[0].Record.Headers = []versioning.Header{{Key: "ce_id", Value: []byte("m1")}}
	if outcomes, err := store.Redrive(t.Context(), first, fixed); err != nil || outcomes[0].Verdict != versioning.Applied {
		t.Fatalf("Redrive = %+v, %v", outcomes, err)
	}
	again := &versioning.Record{Origin: versioning.Origin{Topic: "t", TopicID: [16]byte{8}}, Headers: first[0].Record.Headers}
	again.Decode(fixed)
	store.Prepare(again)
	result, err := store.Apply(t.Context(), "", []*versioning.Record{again})
	if err != nil || result.Outcomes[0].Verdict != versioning.Duplicate {
		t.Errorf("the message of a redriven letter, sent again: %+v, %v; want a duplicate", result.Outcomes, err)
	}
}

// TestMovedWhileParking checks that a record whose entity moves at the moment of
// parking does not wait for the next tick of the sweep.
func TestMovedWhileParking(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, doors)
	if _, err := pool.Exec(t.Context(), `
CREATE FUNCTION build() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO doors VALUES (new.entity, 'open', 1); RETURN NULL; END $$;
CREATE TRIGGER build AFTER INSERT ON pawl.parked FOR EACH ROW EXECUTE FUNCTION build()`); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: door, Name: "doors"})
	if err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t, 1)
	runWorker(t, consumer.Config{
		Client: testenv.KafkaOpts(t), Group: topic, Topics: []string{topic}, Store: store, Decode: consumer.DecodeMessage,
		SweepEvery: time.Hour,
	})
	client, err := kgo.NewClient(testenv.KafkaOpts(t)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	early := &kgo.Record{Topic: topic, Value: []byte(`{"key": "x", "event": "walled up"}`)}
	if err := client.ProduceSync(t.Context(), early).FirstErr(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 20*time.Second, func() error {
		var state string
		err := pool.QueryRow(t.Context(), `SELECT coalesce(min(state), 'none') FROM doors`).Scan(&state)
		if err == nil && state != "gone" {
			err = fmt.Errorf("the door is %s", state)
		}
		return err
	})
}

// A counted store counts its sweeps, and closes enough after five.
type counted struct {
	*postgres.Store

	sweeps atomic.Int64
	enough chan struct{}
}

func (c *counted) Sweep(ctx context.Context, read versioning.Reading) (versioning.Swept, error) {
	defer func() {
		if c.sweeps.Add(1) == 5 {
			close(c.enough)
		}
	}()
	return c.Store.Sweep(ctx, read)
}

// TestParkedOverAWeekend checks that a parked record does not expire while what it waits
// for is in the backlog of a worker that was down for longer than ParkFor.
func TestParkedOverAWeekend(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t, doors)
	store, err := postgres.Open(t.Context(), pool, postgres.Table{Machine: door, Name: "doors"})
	if err != nil {
		t.Fatal(err)
	}
	topic := testenv.Topic(t, 2)
	client, err := kgo.NewClient(append(testenv.KafkaOpts(t), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func(partition int32, value string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := consumer.Config{
		Client: testenv.KafkaOpts(t), Group: topic, Topics: []string{topic}, Store: store, Decode: consumer.DecodeMessage,
		SweepEvery: 20 * time.Millisecond,
	}
	produce(0, `{"key": "front", "event": "walled up"}`)
	stop := runWorker(t, cfg)
	testenv.Eventually(t, 10*time.Second, func() error {
		return exactlyOne(t.Context(), pool, `SELECT count(*) FROM pawl.parked WHERE (SELECT count(*) FROM pawl.caught_up) = 2`)
	})
	stop()
	for _, query := range []string{
		`UPDATE pawl.parked SET parked_at = parked_at - interval '66 hours'`,
		`UPDATE pawl.caught_up SET at = at - interval '66 hours'`,
	} {
		if _, err := pool.Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	produce(1, `{"key": "front", "event": "built"}`)
	sweeping := &counted{Store: store, enough: make(chan struct{})}
	cfg.Store = sweeping
	cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		select { // a backlog takes time
		case <-sweeping.enough:
		case <-time.After(20 * time.Second):
			t.Error("the worker does not sweep while it has a backlog")
		}
		return consumer.DecodeMessage(r)
	}
	runWorker(t, cfg)
	testenv.Eventually(t, 30*time.Second, func() error {
		return exactlyOne(t.Context(), pool, `SELECT count(*) FROM doors WHERE state = 'gone'`)
	})
	if err := exactlyOne(t.Context(), pool, `SELECT 1 + count(*) FROM pawl.dead_letters`); err != nil {
		t.Error(err)
	}
}

// runWorker runs a worker until it is stopped, or the test ends.
func runWorker(t *testing.T, cfg consumer.Config) (stop func()) {
	t.Helper()
	worker, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A parker is a store that parks each record and keeps the times of its sweeps.
type parker struct {
	*fake

	mu     sync.Mutex
	sweeps []time.Time
}

func (p *parker) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	result, err := p.fake.Apply(ctx, "", records)
	for i := range result.Outcomes {
		result.Outcomes[i] = versioning.Outcome{Verdict: versioning.Early, Reason: versioning.ReasonNoEntity}
	}
	return result, err
}

func (p *parker) Sweep(context.Context, versioning.Reading) (versioning.Swept, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeps = append(p.sweeps, time.Now())
	return versioning.Swept{At: time.Now()}, nil
}

// since returns when sweeps were, after a time.
func (p *parker) since(start time.Time) (after []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.sweeps {
		if at.After(start) {
			after = append(after, at.Sub(start).Round(100*time.Millisecond))
		}
	}
	return after
}

// TestSweepsAfterParking checks that sweeps continue for as long as another worker's
// transaction that did not see the parked record may take, and that a record parked meanwhile
// is swept soon too.
func TestSweepsAfterParking(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := &parker{fake: newFake()}
		cfg := b.config(protocol, store, "orders")
		cfg.SweepEvery = time.Hour
		r := start(t, cfg)
		park := func(want int) time.Time {
			b.produce("orders", 0, "a")
			await(t, time.Minute, func() error {
				if n := store.count("orders"); n != want {
					return fmt.Errorf("%d records are parked, want %d", n, want)
				}
				return nil
			})
			return time.Now()
		}
		swept := func(since time.Time, seconds ...float64) {
			t.Helper()
			var want []time.Duration
			for _, s := range seconds {
				want = append(want, time.Duration(s*float64(time.Second)))
			}
			got := store.since(since)
			if near := func(a, b time.Duration) bool { return (a - b).Abs() <= 200*time.Millisecond }; !slices.EqualFunc(got, want, near) {
				t.Errorf("sweeps after %v, want about %v", got, want)
			}
		}
		first := park(1)
		pass(10 * time.Second)
		swept(first, 0.5, 1.5, 3.5, 7.5)
		second := park(2) // while the next one is due in five seconds
		pass(2 * time.Second)
		swept(second, 0.5, 1.5)
		r.stop()
	})
}
