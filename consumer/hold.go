package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A hold prevents partitions from being taken away while a batch is applied. It ends only
// once, so that a timer that fires late does not end the hold of the next batch.
type hold struct {
	gates gates

	mu    sync.Mutex
	timer *time.Timer // nil once it has ended
}

// hold begins a hold that ends after at most the given time. It first waits while partitions
// are being given up.
func (g gates) hold(most time.Duration) *hold {
	g.batch <- struct{}{}
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
		<-h.gates.batch
	}
}

// A pause is a wait that grows with each call of wait until over is called.
type pause struct {
	retry *backoff.ExponentialBackOff
}

func (p *pause) over() { p.retry.Reset() }

// wait returns false if ctx ended first.
func (p *pause) wait(ctx context.Context) bool { return sleep(ctx, p.retry.NextBackOff()) }

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
