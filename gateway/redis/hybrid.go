package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pawl-go/pawl/gateway"
)

// A HybridConfig configures a Hybrid. Decider is required; the zero value of every other field
// is useful.
type HybridConfig struct {
	// Redis answers repeats and collisions. nil means that Decider works alone until Use is
	// called: a process must be able to start while Redis is down.
	Redis *Backend

	// Decider decides who runs, and stores the responses durably. Its responses should live
	// at least as long as those in Redis.
	Decider gateway.Backend

	// RefuseWhenFull refuses requests that Redis does not know while it has no memory left,
	// with 503 and Retry-After. Otherwise Decider handles them alone. It is for databases
	// that could not bear the load.
	RefuseWhenFull bool

	// Cooldown is how long Redis is not asked after it has not answered. Then one request
	// asks it. 0 means a second.
	Cooldown time.Duration

	// Logger gets what an operator should know, without keys and responses. nil means no
	// logs.
	Logger *slog.Logger
}

// A Hybrid is Redis in front of a backend that decides. The package documentation says what
// each does. It is safe for concurrent use.
type Hybrid struct {
	fast    atomic.Pointer[Backend] // nil until there is one
	decider gateway.Backend
	refuse  bool // when Redis is full
	breaker *breaker
}

var _ gateway.Backend = (*Hybrid)(nil)

// NewHybrid returns a backend. Its error lists everything that is wrong with the
// configuration.
func NewHybrid(cfg HybridConfig) (*Hybrid, error) {
	var errs []error
	if cfg.Decider == nil {
		errs = append(errs, errors.New("field Decider is nil"))
	}
	if cfg.Cooldown < 0 {
		errs = append(errs, fmt.Errorf("field Cooldown is %v", cfg.Cooldown))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("redis: hybrid: %w", errors.Join(errs...))
	}
	if cfg.Cooldown == 0 {
		cfg.Cooldown = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hybrid{decider: cfg.Decider, refuse: cfg.RefuseWhenFull, breaker: newBreaker(cfg.Cooldown, cfg.Logger)}
	h.fast.Store(cfg.Redis)
	return h, nil
}

// Use gives the hybrid a Redis from now on, such as one that was down when the process
// started. Open fails then, and so does rueidis.NewClient: call both again in a goroutine
// until they succeed.
func (h *Hybrid) Use(b *Backend) { h.fast.Store(b) }

// Begin claims a key; see [gateway.Backend]. Only the decider lets a request run.
func (h *Hybrid) Begin(ctx context.Context, key gateway.Key) (gateway.Run, []byte, error) {
	claim, stored, err := h.ask(ctx, key)
	if stored != nil || err != nil {
		return nil, stored, err
	}
	run, stored, err := h.decider.Begin(ctx, key)
	switch {
	case err != nil:
		h.drop(ctx, claim)
		return nil, nil, err
	case run == nil:
		h.cache(ctx, key, claim, stored, (*Backend).putFound)
		return nil, stored, nil
	}
	return &hybridRun{Run: run, h: h, key: key, claim: claim}, nil, nil
}

// ask asks Redis. If it returns neither a response nor an error, the decider must be asked;
// the claim is nil if Redis has not given one.
func (h *Hybrid) ask(ctx context.Context, key gateway.Key) (claim *run, stored []byte, err error) {
	fast := h.fast.Load()
	if fast == nil || !h.breaker.allows() {
		return nil, nil, ctx.Err()
	}
	claim, stored, err = fast.claim(ctx, key)
	_, busy := errors.AsType[*gateway.InProgressError](err)
	switch {
	case err == nil && ctx.Err() == nil, busy:
		h.breaker.answered(ctx)
		return claim, stored, err
	case ctx.Err() != nil:
		h.abandon(claim)
		return nil, nil, errors.Join(ctx.Err(), err)
	case errors.Is(err, errForeign): // and gives way to the response
		h.breaker.answered(ctx)
		h.breaker.log.WarnContext(ctx, "a key in redis holds a value of another program; the backend behind it decides", "error", err)
		return nil, nil, nil
	case errors.Is(err, ErrFull):
		h.breaker.answered(ctx)
		if h.refuse {
			return nil, nil, err
		}
		return nil, nil, nil
	}
	h.breaker.failed(ctx, err)
	h.abandon(claim)
	return nil, nil, nil
}

// cache stores a response that the decider has stored. If Redis does not take it, the claim is
// dropped, so that the next request asks the decider.
func (h *Hybrid) cache(ctx context.Context, key gateway.Key, claim *run, stored []byte, put func(*Backend, context.Context, string, []byte) error) {
	fast := h.fast.Load()
	if fast == nil || h.breaker.isOpen() {
		h.abandon(claim)
		return
	}
	if claim != nil {
		claim.end()
	}
	err := put(fast, context.WithoutCancel(ctx), fast.name(key), stored)
	switch {
	case err == nil:
	case full(err):
		h.drop(ctx, claim)
	default:
		h.breaker.failed(ctx, err)
		h.abandon(claim)
	}
}

// drop ends a claim, and deletes its lock.
func (h *Hybrid) drop(ctx context.Context, claim *run) {
	if claim == nil {
		return
	}
	if h.breaker.isOpen() {
		h.abandon(claim)
		return
	}
	claim.end()
	ctx, cancel := claim.b.limit(context.WithoutCancel(ctx))
	defer cancel()
	if err := claim.delete(ctx); err != nil {
		h.breaker.failed(ctx, err)
		h.abandon(claim)
	}
}

// abandon ends a claim, which may not have been made. It does not wait: the lock is deleted
// when Redis answers again, or expires.
func (h *Hybrid) abandon(claim *run) {
	if claim == nil {
		return
	}
	claim.end()
	go func() { _ = claim.retry(context.Background(), claim.delete) }() // for as long as the lease
}

// A hybridRun is a run of the decider with its claim in Redis.
type hybridRun struct {
	gateway.Run

	h     *Hybrid
	key   gateway.Key
	claim *run // nil if Redis has not given one
}

// Finish stores the response with the decider, and then in Redis. Redis never has a response
// that the decider does not have.
func (r *hybridRun) Finish(ctx context.Context, result gateway.Result) error {
	if err := r.Run.Finish(ctx, result); err != nil {
		r.h.drop(ctx, r.claim)
		return err
	}
	r.h.cache(ctx, r.key, r.claim, result.Response, (*Backend).put)
	return nil
}

// Release releases the key at the decider, and then in Redis.
func (r *hybridRun) Release(ctx context.Context) error {
	err := r.Run.Release(ctx)
	r.h.drop(ctx, r.claim)
	return err
}
