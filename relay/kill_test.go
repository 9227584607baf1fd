package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/relay"
	"github.com/pawl-go/pawl/versioning"
)

var errKilled = errors.New("the process is dead")

// A victim is a process with a relay. Once it is killed, nothing that it does has an effect.
type victim struct {
	b     *broker
	store *fake

	mu    sync.Mutex
	conns []net.Conn
	isCut bool
	dead  chan struct{}
	once  sync.Once
}

func newVictim(b *broker, o *outbox) *victim {
	return &victim{b: b, store: o.store(), dead: make(chan struct{})}
}

func (v *victim) kill() {
	v.once.Do(func() {
		close(v.dead)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, c := range v.conns {
			_ = c.Close()
		}
	})
}

// cut breaks the victim's network, or mends it.
func (v *victim) cut(is bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.isCut = is
	for _, c := range v.conns {
		_ = c.Close()
	}
	v.conns = nil
}

func (v *victim) isDead() bool {
	select {
	case <-v.dead:
		return true
	default:
		return false
	}
}

func (v *victim) dial(ctx context.Context, network, host string) (net.Conn, error) {
	v.mu.Lock()
	isCut := v.isCut
	v.mu.Unlock()
	if isCut || v.isDead() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	conn, err := v.b.net.DialContext(ctx, network, host)
	if err == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.conns = append(v.conns, conn)
	}
	return conn, err
}

// A death says when a relay is killed.
type death struct {
	key   kmsg.Key // at a request; 0 with a call is a call of the store
	call  string
	after bool // the broker handles the request
	nth   int
}

func (d death) String() string {
	what := d.call
	if what == "" {
		what = kmsg.NameForKey(int16(d.key))
	}
	return fmt.Sprintf("%s after=%t nth=%d", what, d.after, d.nth)
}

// deaths are all moments at which a relay may be killed.
func deaths() (all []death) {
	keys := []kmsg.Key{
		kmsg.InitProducerID, kmsg.OffsetFetch, kmsg.Produce, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.Metadata,
	}
	for nth := 1; nth <= 5; nth += 2 {
		for _, after := range []bool{false, true} {
			for _, key := range keys {
				all = append(all, death{key: key, after: after, nth: nth})
			}
			for _, call := range []string{"Packs", "DeletePacks", "DeleteTokens"} {
				all = append(all, death{call: call, after: after, nth: nth})
			}
		}
	}
	return all
}

// arrange kills the victim at its moment.
func (d death) arrange(v *victim) {
	n := 0
	v.store.on(func(call string) error {
		if v.isDead() {
			return errKilled
		}
		want := "before " + d.call
		if d.after {
			want = "after " + d.call
		}
		if call == want {
			v.store.mu.Lock()
			n++
			now := n == d.nth
			v.store.mu.Unlock()
			if now {
				v.kill()
				return errKilled
			}
		}
		return nil
	})
	if d.call != "" {
		return
	}
	seen := 0
	v.b.ControlKey(int16(d.key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if v.isDead() {
			return nil, nil, false // of others
		}
		v.b.KeepControl()
		if seen++; seen != d.nth {
			return nil, nil, false
		}
		v.kill()
		if d.after {
			return nil, nil, false
		}
		return nil, errKilled, true
	})
}

// TestKilled kills a relay at every moment, and lets another one go on.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "test"} {
		for _, d := range deaths() {
			t.Run(fmt.Sprintf("id=%s %s", id, d), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b, o := startBroker(t, "notes"), newOutbox()
					v := newVictim(b, o)
					d.arrange(v)
					opts := []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(v.dial)}
					cfg := relay.Config{Client: opts, Store: v.store, TransactionalID: id, ShutdownGrace: -1, RetryMax: time.Second}
					first := start(t, cfg)
					emit := func() {
						for i := range 6 {
							o.emit("notes", entitiesIn(i%2, 1)[0], entitiesIn(i%2, 1)[0])
							<-time.After(15 * time.Millisecond)
						}
					}
					emit()
					<-time.After(300 * time.Millisecond)
					v.kill()
					v.store.lose()
					emit()
					cfg.Client, cfg.Store = b.opts(), o.store()
					start(t, cfg)
					o.awaitEmpty(t)
					first.stop()
					repeats := wantInOrder(t, o, b.read("notes"))
					if id != "" && repeats > 0 {
						t.Errorf("%d repeats", repeats)
					}
				})
			})
		}
	}
}

// TestKilledInFlight kills a relay while one message is in flight and others are acknowledged.
func TestKilledInFlight(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes", "stuck"), newOutbox()
		v := newVictim(b, o)
		death{call: "nothing"}.arrange(v)
		cfg.Client, cfg.Store = []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(v.dial)}, v.store
		cfg.ShutdownGrace = -1
		fault := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "stuck", Err: kerr.NotEnoughReplicas, Count: -1})
		start(t, cfg)
		stuck, free := entitiesIn(1, 1)[0], entitiesIn(2, 1)[0]
		o.emit("stuck", stuck)
		<-time.After(100 * time.Millisecond)
		o.emit("notes", free)
		await(t, time.Minute, func() error {
			if len(b.read("notes")) == 0 {
				return errors.New("the other lane is held up")
			}
			return nil
		})
		v.kill()
		v.store.lose()
		fault.Remove()
		cfg.Client, cfg.Store = b.opts(), o.store()
		start(t, cfg)
		o.awaitEmpty(t)
		wantInOrder(t, o, b.read("notes", "stuck"))
	})
}

// TestZombie lets a relay go on that does not know that it has lost its lanes.
func TestZombie(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) {
		b, o := startBroker(t, "notes"), newOutbox()
		v := newVictim(b, o)
		zombie := v.store
		cfg.Client, cfg.Store = []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(v.dial)}, zombie
		start(t, cfg)
		emit := func(n int) {
			for i := range n {
				o.emit("notes", entitiesIn(i%2, 1)[0], entitiesIn(i%2, 1)[0])
				<-time.After(7 * time.Millisecond)
			}
		}
		emit(50)
		v.cut(true)
		emit(10)
		zombie.steal()
		cfg.Client, cfg.Store = b.opts(), o.store()
		start(t, cfg)
		emit(100)
		v.cut(false)
		emit(1500)
		zombie.lose()
		emit(50)
		o.awaitEmpty(t)
		repeats := wantInOrder(t, o, b.read("notes"))
		t.Logf("%d messages, %d repeats", len(o.emitted), repeats)
		if cfg.TransactionalID != "" && repeats > 0 {
			t.Errorf("%d repeats", repeats)
		}
	})
}

// TestZombieRefuses lets a relay that has lost its lanes split a pack that the new owner has just
// published, before the owner deletes it. With transactions, nothing is published again.
func TestZombieRefuses(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) { testZombieRefuses(t, cfg, false) })
}

// TestReleasedBeforeAlone releases a lane while a session ends in order to send its messages alone.
// That is no trouble.
func TestReleasedBeforeAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, store := startBroker(t), newOutbox().store()
		if err := b.CreateTopic("small", 1, map[string]string{"max.message.bytes": "2000"}); err != nil {
			t.Fatal(err)
		}
		lane := laneOf("e1")
		b.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			store.mu.Lock()
			go store.holder.Release(lane)
			store.mu.Unlock()
			<-time.After(time.Millisecond) // fake: until the lane is to be released
			return nil, nil, false
		})
		store.emitPack(func(m *versioning.Emitted) { m.Value = make([]byte, 5000) }, "small", "e1")
		opts := append(b.opts(), kgo.ProducerBatchCompression(kgo.NoCompression()))
		r := start(t, relay.Config{Client: opts, Store: store, TransactionalID: "test"})
		await(t, time.Minute, func() error {
			if h := r.Health(); h.Lanes != versioning.Lanes-1 {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		synctest.Wait()
		if h := r.Health(); h.State != relay.Publishing {
			t.Errorf("health: %+v", h)
		}
		r.logs.mu.Lock()
		defer r.logs.mu.Unlock()
		if strings.Contains(r.logs.String(), "level=ERROR") {
			t.Errorf("log: %s", r.logs)
		}
	})
}

// TestFenced checks that Kafka's refusal of a lane's producer concerns that lane only, and that
// the relay goes on with the lane if it still holds it.
func TestFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, store := startBroker(t, "notes"), newOutbox().store()
		held := 0
		store.on(func(call string) error {
			if call == "before HoldLanes" {
				held++
			}
			return nil
		})
		fenced, free := entitiesIn(1, 1)[0], entitiesIn(2, 1)[0]
		r := start(t, relay.Config{Client: b.opts(), Store: store, TransactionalID: "test"})
		store.emit("notes", free)
		store.awaitEmpty(t)
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "test-1", Err: kerr.ProducerFenced})
		store.emit("notes", fenced)
		await(t, time.Second, func() error {
			h := r.Health()
			if h.State != relay.Troubled || !errors.Is(h.Err, kerr.ProducerFenced) || !strings.Contains(h.Err.Error(), "another relay publishes lane 1, or a transaction of it took longer than 1m0s") {
				return fmt.Errorf("health: %+v", h)
			}
			return nil
		})
		before := time.Now()
		for range 10 {
			store.emit("notes", free)
			await(t, time.Second, func() error {
				store.mu.Lock()
				defer store.mu.Unlock()
				if n := len(store.packs); n != 1 {
					return fmt.Errorf("%d packs", n)
				}
				return nil
			})
		}
		store.awaitEmpty(t)
		if took := time.Since(before); took < 15*time.Second {
			t.Errorf("after %v, the relay takes the lane back from one that may hold it", took)
		}
		r.stop()
		if n := wantInOrder(t, store.outbox, b.read("notes")); n > 0 {
			t.Errorf("%d repeats", n)
		}
		if held != 1 {
			t.Errorf("the relay has held lanes %d times", held)
		}
	})
}

// TestZombieRefusesThenKilled is the same, but the owner dies before it deletes the pack.
func TestZombieRefusesThenKilled(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, cfg relay.Config) { testZombieRefuses(t, cfg, true) })
}

func testZombieRefuses(t *testing.T, cfg relay.Config, kill bool) {
	b, o := startBroker(t, "notes"), newOutbox()
	owner, zombie := o.store(), o.store()
	split := make(chan struct{})
	owner.on(func(call string) error {
		if call != "before DeletePacks" {
			return nil
		}
		owner.on(nil)
		o.mu.Lock()
		p := o.packs[0]
		o.mu.Unlock()
		_, ok, err := zombie.RefuseMessages(t.Context(), p.PackRef, []versioning.Refused{{Emitted: p.Messages[0], Reason: "X"}}, p.Messages[1:])
		if !ok || err != nil {
			t.Errorf("the pack could not be split: %t, %v", ok, err)
		}
		close(split)
		if kill {
			owner.on(func(string) error { return errKilled })
			return errKilled
		}
		return nil
	})
	cfg.Client, cfg.Store = b.opts(), owner
	o.emit("notes", "e1", "e1")
	r := start(t, cfg)
	<-split
	if kill {
		owner.lose()
		r.cancel()
		cfg.Store = o.store()
		r = start(t, cfg)
	}
	o.awaitEmpty(t)
	r.stop()
	if n := wantInOrder(t, o, b.read("notes")); n > 0 && cfg.TransactionalID != "" {
		t.Errorf("%d repeats", n)
	}
}
