package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// A Relay publishes the messages of an outbox.
type Relay struct {
	cfg     Config
	log     *logger
	vitals  vitals
	topics  topics
	started atomic.Bool
	tenure  atomic.Pointer[tenure] // nil while the relay can hold no lanes
}

// ErrStarted is returned by a second call of Run.
var ErrStarted = errors.New("Run was called twice; create a new relay")

// New creates a relay. It checks the whole configuration and returns all errors at once; each
// of them is an [ErrConfig]. It opens no connections.
func New(cfg Config) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.compression = compressionOf(cfg.clientOptions())
	r := &Relay{cfg: cfg, log: &logger{log: cfg.Logger}, topics: topics{patience: cfg.Patience}}
	r.vitals.topicMemory = max(time.Minute, 3*cfg.RetryMax)
	return r, nil
}

// Run publishes until ctx is canceled, and then returns nil. Before it returns, it waits for
// the messages in flight, at most for Config.ShutdownGrace, and deletes what is acknowledged.
// No goroutine outlives Run.
//
// Run does not return on trouble with the broker or the database: it logs the error and
// retries for as long as it takes. Run returns errors that retrying cannot fix, such as a
// missing privilege on the outbox. A relay runs once.
func (r *Relay) Run(ctx context.Context) (err error) {
	if !r.started.CompareAndSwap(false, true) {
		return ErrStarted
	}
	r.vitals.change(func() { r.vitals.ran = true })
	defer func() {
		r.vitals.change(func() { r.vitals.ended.Begin(reasonStopped, "", err) })
	}()
	wait := r.cfg.backOff()
	for ctx.Err() == nil {
		began := time.Now()
		err := r.hold(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, versioning.ErrFatal) {
			return fmt.Errorf("relay can't continue: %w", err)
		}
		if time.Since(began) > r.cfg.RetryMax {
			wait.Reset()
		}
		r.vitals.failed(&r.vitals.holding, reasonDatabase, "", err)
		r.log.limited(slog.LevelError, "the lanes of the outbox can't be held; retrying", "", "error", err)
		if !pace.Sleep(ctx, wait.NextBackOff()) {
			return nil
		}
	}
	return nil
}

// hold publishes messages for as long as the relay holds lanes without interruption.
func (r *Relay) hold(ctx context.Context) error {
	t, err := newTenure(ctx, r)
	if err != nil {
		return err
	}
	r.tenure.Store(t)
	defer r.tenure.Store(nil)
	defer t.close()
	return r.cfg.Store.HoldLanes(ctx, t)
}

// backOff returns waits that grow from RetryMin to RetryMax.
func (c Config) backOff() *backoff.ExponentialBackOff { return pace.Growing(c.RetryMin, c.RetryMax) }

// topics remember since when topics refuse messages. They are safe for concurrent use.
type topics struct {
	patience time.Duration

	any   atomic.Bool // whether since is not empty
	mu    sync.Mutex
	since map[string]time.Time
}

// refused records that a topic refuses messages, and reports whether that has lasted too long.
func (t *topics) refused(topic string) (tooLong bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since, ok := t.since[topic]
	if !ok {
		if t.since == nil {
			t.since = make(map[string]time.Time)
		}
		since = time.Now()
		t.since[topic] = since
		t.any.Store(true)
	}
	return time.Since(since) >= t.patience
}

// accepts records that a topic takes messages. It reports whether no topic refuses messages
// now, and one did before.
func (t *topics) accepts(topic string) (calm bool) {
	if !t.any.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.since[topic]; !ok {
		return false
	}
	delete(t.since, topic)
	t.any.Store(len(t.since) > 0)
	return len(t.since) == 0
}
