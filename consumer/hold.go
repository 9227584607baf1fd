package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A hold keeps rebalances away from one batch. It ends once: a timer that fires
// late must not let a rebalance into the batch after it.
type hold struct {
	timer *time.Timer

	mu    sync.Mutex
	ended bool
}

func (h *hold) end(client *kgo.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		client.AllowRebalance()
		h.ended = true
	}
}

// A pause is a wait that grows for as long as it is needed again and again.
type pause struct {
	retry *backoff.ExponentialBackOff
}

func (p *pause) over() { p.retry.Reset() }

// wait waits for its time. It returns false if ctx ended first.
func (p *pause) wait(ctx context.Context) bool { return sleep(ctx, p.retry.NextBackOff()) }

func (r *run) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = r.cfg.RetryMin, r.cfg.RetryMax
	b.Reset()
	return b
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
