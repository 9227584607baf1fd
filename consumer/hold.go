package consumer

import (
	"sync"
	"time"
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
