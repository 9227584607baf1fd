package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

// A broker is a Kafka cluster in memory.
type broker struct {
	*kfake.Cluster
	t   *testing.T
	net *kfake.VirtualNetwork
}

func startBroker(t *testing.T, topics ...string) *broker {
	t.Helper()
	b := &broker{t: t, net: new(kfake.VirtualNetwork)}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(b.net.Listen), kfake.SeedTopics(3, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b.Cluster = cluster
	return b
}

func (b *broker) opts() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(b.net.DialContext)}
}

// read returns the IDs of all committed messages of topics, by topic and partition in order.
func (b *broker) read(topics ...string) []*kgo.Record {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(append(b.opts(), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for quiet := 0; quiet < 5; quiet++ {
		fctx, done := context.WithTimeout(ctx, 500*time.Millisecond)
		fetches := client.PollFetches(fctx)
		done()
		if n := fetches.NumRecords(); n > 0 {
			quiet = 0
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// wantInOrder checks that each message that was emitted is in the topic, except for those that
// are missing, first occurrences in order within an entity. It returns how many are repeats.
func wantInOrder(t *testing.T, o *outbox, records []*kgo.Record, missing ...string) (repeats int) {
	t.Helper()
	seen := make(map[string]bool)
	last := make(map[string]int64)
	for _, r := range records {
		id := header(r, "ce_id")
		if seen[id] {
			repeats++
			continue
		}
		seen[id] = true
		var entity string
		var version int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(id, "/", " "), "m %s %d 0", &entity, &version); err != nil {
			t.Errorf("ID %q: %v", id, err)
		}
		if at := r.Topic + " " + entity; version <= last[at] {
			t.Errorf("topic %s, entity %s: version %d comes after %d", r.Topic, entity, version, last[at])
		} else {
			last[at] = version
		}
	}
	for _, id := range o.emitted {
		if !seen[id] && !slices.Contains(missing, id) {
			t.Errorf("message %s is missing", id)
		}
	}
	return repeats
}

// A running is a running relay.
type running struct {
	*relay.Relay
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	logs   *logs
}

type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

var _ io.Writer = (*logs)(nil)

func start(t *testing.T, cfg relay.Config) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1), logs: new(logs)}
	cfg.Logger = slog.New(slog.NewTextHandler(r.logs, nil))
	var err error
	if r.Relay, err = relay.New(cfg); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() {
		if err := r.Run(ctx); err != nil {
			r.done <- err
		}
		close(r.done)
	}()
	t.Cleanup(func() {
		r.cancel()
		if err, ok := <-r.done; ok {
			t.Errorf("Run = %v", err)
		}
		if t.Failed() {
			r.logs.mu.Lock()
			t.Log(r.logs.String())
			r.logs.mu.Unlock()
		}
	})
	return r
}

// stop ends the relay, and returns how long that took.
func (r *running) stop() time.Duration {
	r.t.Helper()
	before := time.Now()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Fatalf("Run = %v, want nil", err)
		}
	case <-time.After(5 * time.Minute):
		r.t.Fatal("Run did not return")
	}
	return time.Since(before)
}

// bubble runs a test in a synctest bubble, without and with transactions.
func bubble(t *testing.T, test func(t *testing.T, cfg relay.Config)) {
	t.Helper()
	for name, cfg := range map[string]relay.Config{"at least once": {}, "transactions": {TransactionalID: "test"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, cfg) })
		})
	}
}

// TestPublish checks what a message looks like, that it is deleted from the outbox, and a clean
// stop.
func TestPublish(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store = b.opts(), o.store()
		o.emitPack(func(m *versioning.Emitted) {
			m.ContentType = "application/json"
			m.Headers = []versioning.Header{{Key: "mine", Value: []byte("1")}}
		}, "notes", "e1")
		r := start(t, cfg)
		o.awaitEmpty(t)
		o.emit("notes", "e1", "e1")
		o.awaitEmpty(t)
		if h := r.Health(); h.State != relay.Publishing || h.Lanes != versioning.Lanes || h.Published != 3 || h.InFlight != 0 || !h.Ready() {
			t.Errorf("health: %+v", h)
		}
		if took := r.stop(); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if h := r.Health(); h.State != relay.Stopped || h.Lanes != 0 {
			t.Errorf("health after the end: %+v", h)
		}
		records := b.read("notes")
		if n := wantInOrder(t, o, records); n > 0 {
			t.Errorf("%d repeats", n)
		}
		var got []string
		for _, h := range records[0].Headers {
			got = append(got, h.Key+"="+string(h.Value))
		}
		want := []string{"ce_specversion=1.0", "ce_id=m/e1/1/0", "ce_source=/fake", "ce_type=did", "ce_time=1970-01-01T00:00:01Z", "content-type=application/json", "mine=1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("headers (-want, +got):\n%s", diff)
		}
		if string(records[0].Key) != "e1" || string(records[0].Value) != "e1 1" {
			t.Errorf("record %s: %s", records[0].Key, records[0].Value)
		}
		if err := r.Run(t.Context()); !errors.Is(err, relay.ErrStarted) {
			t.Errorf("second Run = %v", err)
		}
	})
}

// A laneless is a store whose lanes others hold.
type laneless struct {
	*fake

	failing int // calls of HoldLanes
}

func (l *laneless) HoldLanes(ctx context.Context, h versioning.LaneHolder) error {
	if l.failing--; l.failing >= 0 {
		return errLost
	}
	h.Connected()
	<-ctx.Done()
	return nil
}

// TestWithoutLanes checks that a relay is ready if others hold all lanes, also after trouble.
func TestWithoutLanes(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b := startBroker(t, "notes")
		cfg.Client, cfg.Store = b.opts(), &laneless{fake: newOutbox().store(), failing: 1}
		cfg.RetryMin = 10 * time.Second
		r := start(t, cfg)
		synctest.Wait()
		if h := r.Health(); h.State != relay.Troubled || !errors.Is(h.Err, errLost) {
			t.Errorf("health of a relay that can hold no lanes: %+v", h)
		}
		<-time.After(20 * time.Second)
		if h := r.Health(); h.State != relay.Publishing || h.Lanes != 0 || !h.Ready() || h.Since.IsZero() {
			t.Errorf("health of a relay that shares the lanes again: %+v", h)
		}
		r.stop()
	})
}

// An interrupted is a store whose reads last until its lanes are no longer held, and then fail.
type interrupted struct {
	*fake

	reading, over chan struct{}
}

func (i *interrupted) HoldLanes(ctx context.Context, h versioning.LaneHolder) error {
	err := i.fake.HoldLanes(ctx, h)
	close(i.over)
	<-time.After(time.Millisecond) // when the read has failed
	return err
}

func (i *interrupted) Packs(ctx context.Context, _ []versioning.Wanted) ([]versioning.Pack, error) {
	i.reading <- struct{}{}
	select {
	case <-i.over:
		return nil, errLost
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestStopWhileReading stops a relay that reads the outbox. Nobody needs what it reads, so it is
// no trouble that the read fails.
func TestStopWhileReading(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, s := startBroker(t, "notes"), &interrupted{newOutbox().store(), make(chan struct{}), make(chan struct{})}
		cfg.Client, cfg.Store = b.opts(), s
		r := start(t, cfg)
		<-s.reading
		r.stop()
		if text := r.logs.String(); text != "" {
			t.Errorf("a relay that was stopped logs %s", text)
		}
	})
}

// TestTroubleIsReleased checks that the trouble of a lane is over for a relay once another relay
// has the lane.
func TestTroubleIsReleased(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store = b.opts(), o.store()
		first := start(t, cfg)
		o.emit("notes", entitiesIn(0, 1)...)
		o.awaitEmpty(t)
		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.ClusterAuthorizationFailed, Count: -1})
		o.emit("notes", entitiesIn(versioning.Lanes-1, 1)...) // which the other relay gets
		await(t, time.Minute, func() error {
			if h := first.Health(); h.State != relay.Troubled {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		cfg.Store = o.store()
		second := start(t, cfg)
		await(t, time.Minute, func() error {
			if h := first.Health(); h.State != relay.Publishing || h.Lanes != versioning.Lanes/2 {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		fault.Remove()
		o.awaitEmpty(t)
		first.stop()
		second.stop()
	})
}

// TestStarting checks the health of a relay that is about to connect.
func TestStarting(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, store := startBroker(t, "notes"), newOutbox().store()
		cfg.Client, cfg.Store = b.opts(), store
		connect := make(chan struct{})
		store.on(func(call string) error {
			if call == "before HoldLanes" {
				<-connect
			}
			return nil
		})
		r := start(t, cfg)
		synctest.Wait()
		if h := r.Health(); h.State != relay.Starting || h.Reason != "not connected to the database yet" {
			t.Errorf("health before the relay is connected: %+v", h)
		}
		close(connect)
		synctest.Wait()
		if h := r.Health(); h.State != relay.Publishing {
			t.Errorf("health afterwards: %+v", h)
		}
		r.stop()
	})
}

// TestLanesMove lets relays come and go, some of them without a farewell, while messages flow.
func TestLanesMove(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client = b.opts()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		emitting := make(chan struct{})
		go func() {
			defer close(emitting)
			for i := 0; ctx.Err() == nil; i++ {
				e := fmt.Sprint("e", i%40)
				o.emit("notes", e, e)
				<-time.After(3 * time.Millisecond)
			}
		}()
		var stores []*fake
		var relays []*running
		for round := range 12 {
			s := o.store()
			c := cfg
			c.Store = s
			stores, relays = append(stores, s), append(relays, start(t, c))
			<-time.After(700 * time.Millisecond)
			switch round % 4 {
			case 1:
				stores[round].lose()
			case 2:
				relays[round-1].stop()
			case 3:
				stores[round-3].lose()
			}
		}
		cancel()
		<-emitting
		o.awaitEmpty(t)
		for _, r := range relays {
			r.cancel()
		}
		repeats := wantInOrder(t, o, b.read("notes"))
		t.Logf("%d messages, %d repeats", len(o.emitted), repeats)
		if cfg.TransactionalID != "" && repeats > 0 {
			t.Errorf("%d repeats", repeats)
		}
	})
}

// TestKilledBeforeDelete kills a relay between the acknowledgement and the deletion.
func TestKilledBeforeDelete(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		first := o.store()
		killed := make(chan struct{})
		first.on(func(call string) error {
			if call == "before DeletePacks" {
				close(killed)
				first.on(func(string) error { return errLost })
				return errLost
			}
			return nil
		})
		cfg.Client, cfg.Store = b.opts(), first
		o.emit("notes", "e1", "e1")
		r := start(t, cfg)
		<-killed
		first.lose()
		cfg.Store = o.store()
		start(t, cfg)
		o.emit("notes", "e1")
		o.awaitEmpty(t)
		r.cancel()
		repeats := wantInOrder(t, o, b.read("notes"))
		if want := map[bool]int{true: 2, false: 0}[cfg.TransactionalID == ""]; repeats != want {
			t.Errorf("%d repeats, want %d", repeats, want)
		}
	})
}

// TestRefused checks messages that can never be published: only they are unsent, and neither
// their lane nor others wait.
func TestRefused(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t), newOutbox()
		if err := b.CreateTopic("small", 2, map[string]string{"max.message.bytes": "2000"}); err != nil {
			t.Fatal(err)
		}
		cfg.Client, cfg.Store = append(b.opts(), kgo.ProducerBatchCompression(kgo.NoCompression())), o.store()
		large := func(m *versioning.Emitted) {
			m.Value = make([]byte, 100)
			if m.Version == 3 {
				m.Value = make([]byte, 5000)
			}
		}
		var missing []string
		for _, e := range []string{"e1", "e2"} {
			for range 3 {
				o.emitPack(large, "small", slices.Repeat([]string{e}, 40)...)
			}
			missing = append(missing, fmt.Sprintf("m/%s/3/0", e))
		}
		r := start(t, cfg)
		o.awaitEmpty(t)
		refused := o.refusals()
		slices.Sort(refused)
		if diff := cmp.Diff([]string{"e1 3 MESSAGE_TOO_LARGE", "e2 3 MESSAGE_TOO_LARGE"}, refused); diff != "" {
			t.Errorf("unsent messages (-want, +got):\n%s", diff)
		}
		r.stop()
		if n := wantInOrder(t, o, b.read("small"), missing...); n > 0 {
			t.Errorf("%d repeats", n)
		}
		if h := r.Health(); h.Refused != 2 || h.Published != 238 {
			t.Errorf("health: %+v", h)
		}
	})
}

// TestUnknownTopic checks that messages to a topic that does not exist wait for Patience, and
// hold up only their lane.
func TestUnknownTopic(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store, cfg.Patience = b.opts(), o.store(), time.Hour
		blocked, free := entitiesIn(1, 1)[0], entitiesIn(2, 1)[0]
		r := start(t, cfg)
		o.emit("later", blocked)
		o.emit("notes", blocked)
		await(t, time.Minute, func() error {
			if h := r.Health(); h.State != relay.Troubled || h.Topic != "later" || !errors.Is(h.Err, kerr.UnknownTopicOrPartition) {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		o.emit("notes", free)
		await(t, time.Second, func() error {
			if n := len(b.read("notes")); n == 0 {
				return errors.New("the other lane is held up")
			}
			return nil
		})
		if err := b.CreateTopic("later", 1, nil); err != nil {
			t.Fatal(err)
		}
		o.awaitEmpty(t)
		await(t, time.Minute, func() error {
			if h := r.Health(); h.State != relay.Publishing {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		if got := o.refusals(); got != nil {
			t.Errorf("unsent messages: %v", got)
		}
		r.stop()
		wantInOrder(t, o, b.read("notes", "later"))
	})
}

// TestTopicCreatedAgain checks that messages go to a topic that was deleted and created again, also
// those that were emitted in between.
func TestTopicCreatedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes", "others"), newOutbox()
		cfg.Client, cfg.Store, cfg.Patience = b.opts(), o.store(), time.Hour
		r := start(t, cfg)
		o.emit("notes", "e1")
		o.emit("others", "e2")
		o.awaitEmpty(t)
		client, err := kgo.NewClient(b.opts()...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), "notes"); err != nil {
			t.Fatal(err)
		}
		o.emit("notes", "e1", "e3")
		await(t, time.Minute, func() error {
			if h := r.Health(); h.State != relay.Troubled || h.Topic != "notes" {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		if err := b.CreateTopic("notes", 1, nil); err != nil {
			t.Fatal(err)
		}
		o.awaitEmpty(t)
		o.emit("notes", "e1")
		o.emit("others", "e2")
		o.awaitEmpty(t)
		if got := o.refusals(); got != nil {
			t.Errorf("unsent messages: %v", got)
		}
		r.stop()
		if got := len(b.read("notes")); got < 3 {
			t.Errorf("the new topic has %d messages", got)
		}
	})
}

// TestPatience checks that messages to a topic that does not exist become unsent messages.
func TestPatience(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store, cfg.Patience = b.opts(), o.store(), time.Minute
		o.emit("never", "e1")
		o.emit("notes", "e1")
		r := start(t, cfg)
		began := time.Now()
		o.awaitEmpty(t)
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
		o.emit("never", "e1") // needs no more patience
		o.emit("notes", "e1")
		began = time.Now()
		o.awaitEmpty(t)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the next one took %v", took)
		}
		if diff := cmp.Diff([]string{"e1 1 UNKNOWN_TOPIC_OR_PARTITION", "e1 3 UNKNOWN_TOPIC_OR_PARTITION"}, o.refusals()); diff != "" {
			t.Errorf("unsent messages (-want, +got):\n%s", diff)
		}
		r.stop()
		wantInOrder(t, o, b.read("notes"), "m/e1/1/0", "m/e1/3/0")
	})
}

// TestTrouble checks that errors that may pass are retried, however long they take.
func TestTrouble(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		store := o.store()
		cfg.Client, cfg.Store = b.opts(), store
		r := start(t, cfg)
		o.emit("notes", "e1")
		o.awaitEmpty(t)
		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		o.emit("notes", "e1", "e1")
		await(t, time.Minute, func() error {
			if h := r.Health(); h.State != relay.Troubled || h.Reason != "messages are not acknowledged; retrying" {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		fault.Remove()
		o.awaitEmpty(t)
		store.on(func(string) error { return errLost })
		o.emit("notes", "e1")
		await(t, time.Minute, func() error {
			if h := r.Health(); h.State != relay.Troubled || h.Reason != "database in trouble; retrying" || !errors.Is(h.Err, errLost) {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		store.on(nil)
		o.awaitEmpty(t)
		r.stop()
		wantInOrder(t, o, b.read("notes"))
		if !strings.Contains(r.logs.String(), "messages are not acknowledged") {
			t.Error("trouble was not logged")
		}
	})
}

// TestDamagedPack checks that a pack that can't be read holds up its lane only.
func TestDamagedPack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store = b.opts(), o.store()
		held, free := entitiesIn(1, 1)[0], entitiesIn(2, 1)[0]
		o.emit("notes", held)
		o.emit("notes", held)
		o.emit("notes", held)
		o.damaged = 2
		r := start(t, cfg)
		left := func(want int) {
			t.Helper()
			await(t, time.Second, func() error {
				o.mu.Lock()
				defer o.mu.Unlock()
				if len(o.packs) != want {
					return fmt.Errorf("the outbox has %d packs", len(o.packs))
				}
				return nil
			})
		}
		left(2)
		for range 50 {
			o.emit("notes", free)
			left(2)
		}
		if h := r.Health(); h.State != relay.Troubled || h.Reason != "a row of the outbox can't be read; its lane waits" || !errors.Is(h.Err, errDamaged) {
			t.Errorf("health: %+v", h)
		}
		o.mu.Lock()
		o.damaged = 0
		o.mu.Unlock()
		left(0)
		if h := r.Health(); h.State != relay.Publishing {
			t.Errorf("health: %+v", h)
		}
		r.stop()
		if n := wantInOrder(t, o, b.read("notes")); n > 0 {
			t.Errorf("%d repeats", n)
		}
	})
}

// TestGrace checks that a stop does not wait for a broker that does not answer.
func TestGrace(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		cfg.Client, cfg.Store, cfg.ShutdownGrace = b.opts(), o.store(), 3*time.Second
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		r := start(t, cfg)
		o.emit("notes", "e1")
		await(t, time.Minute, func() error {
			if h := r.Health(); h.InFlight == 0 {
				return errors.New("nothing is in flight")
			}
			return nil
		})
		if took := r.stop(); took < 2*time.Second || took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}
