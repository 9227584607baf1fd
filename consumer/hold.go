package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A hold keeps partitions from being taken away while a batch is applied. It ends
// once: a timer that fires late must not end the hold of the batch after it.
type hold struct {
	gates gates

	mu    sync.Mutex
	timer *time.Timer // nil once it has ended
}

// hold begins one, for some time at most. It waits while partitions are being given
// up.
func (g gates) hold(most time.Duration) *hold {
	g.hand <- struct{}{}
	h := &hold{gates: g}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(most, h.end)
	return h
}

// end lets partitions be taken away.
func (h *hold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
		<-h.gates.hand
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
