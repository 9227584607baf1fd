package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/pawl-go/pawl/gateway"
)

// A run holds the lock of a key, and renews it until it ends. It is not renewed if it is not
// known whether the key was locked.
type run struct {
	b    *Backend
	key  string // in Redis
	lock string // what the key holds

	mu      sync.Mutex // is held while the lock is renewed
	ended   bool
	lost    bool
	expires time.Time               // the lock lives at least until then; monotonic
	timer   *time.Timer             // renews
	cancel  context.CancelCauseFunc // of the handler's context; nil before Context
}

// begin starts the renewal.
func (r *run) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.b.cfg.Lease/3, r.renew)
}

// Context returns a context that is canceled with the cause [ErrLeaseLost] if the lock is
// lost while the handler runs.
func (r *run) Context(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel = cancel
	if r.lost {
		cancel(ErrLeaseLost)
	}
	return ctx
}

// renew lets the lock live longer. The timer calls it.
func (r *run) renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	cfg := r.b.cfg
	ctx, cancel := r.b.limit(context.Background())
	defer cancel()
	expires := time.Now().Add(cfg.Lease)
	answer, err := renewScript.Exec(ctx, cfg.Client, []string{r.key}, []string{r.lock, milliseconds(cfg.Lease)}).ToString()
	switch {
	case err == nil && answer == "OK":
		r.expires = expires
		r.timer.Reset(cfg.Lease / 3)
	case err != nil && time.Now().Before(r.expires):
		r.timer.Reset(cfg.Lease / 20)
	default:
		r.lose(ctx, err)
	}
}

// lose tells the handler that somebody else may run its request. In a Hybrid, whose handlers
// have the decider's context, that is harmless. mu is held.
func (r *run) lose(ctx context.Context, err error) {
	r.lost = true
	if r.cancel != nil {
		r.b.cfg.Logger.WarnContext(ctx, "the lock of a running request was lost", "error", err)
		r.cancel(ErrLeaseLost)
	}
}

// end stops the renewal, and reports whether this call has ended the run.
func (r *run) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.ended = true
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.cancel != nil {
		r.cancel(nil)
	}
	return true
}

// Finish stores the response. It tries for as long as the lease, or until ctx ends, because
// without the response a repeated request would run again.
func (r *run) Finish(ctx context.Context, result gateway.Result) error {
	if !r.end() {
		return gateway.ErrEnded
	}
	args := []string{r.lock, response + string(result.Response), milliseconds(r.b.cfg.ResponseTTL)}
	var answer string
	err := r.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = finishScript.Exec(ctx, r.b.cfg.Client, []string{r.key}, args).ToString()
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: store the response in redis: %w", gateway.ErrFateUnknown, err)
	case answer == response:
		return gateway.ErrTaken
	case answer != "OK":
		return fmt.Errorf("%w: %w", gateway.ErrFateUnknown, ErrLeaseLost)
	}
	return nil
}

// Release deletes the lock, if it is still the run's own. It tries for as long as the lease,
// or until ctx ends.
func (r *run) Release(ctx context.Context) error {
	if !r.end() {
		return gateway.ErrEnded
	}
	err := r.retry(ctx, r.delete)
	if err != nil {
		return fmt.Errorf("release a key in redis: %w", err)
	}
	return nil
}

// delete deletes the run's lock.
func (r *run) delete(ctx context.Context) error {
	return releaseScript.Exec(ctx, r.b.cfg.Client, []string{r.key}, []string{r.lock}).Error()
}

// retry calls do until it succeeds, ctx ends, the lease has passed, or the server refuses the
// command for a reason that does not pass by itself.
func (r *run) retry(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.b.cfg.Lease)
	defer cancel()
	const first, longest = 5 * time.Millisecond, 200 * time.Millisecond
	for pause := first; ; pause = min(2*pause, longest) {
		limited, cancel := r.b.limit(ctx)
		err := do(limited)
		cancel()
		if err == nil || !passes(err) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// passes reports whether trying again may help: the server did not answer, is starting or
// failing over, or can't save to its disk now.
func passes(err error) bool {
	if errors.Is(err, rueidis.ErrClosing) {
		return false // the client was closed
	}
	switch code(err) {
	case "", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF":
		return true
	}
	return false
}
