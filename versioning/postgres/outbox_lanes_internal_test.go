package postgres

import (
	"testing"

	"github.com/pawl-go/pawl/versioning"
)

// An askedHolder is a holder that releases each lane when the test lets it.
type askedHolder struct {
	versioning.LaneHolder

	asked chan chan struct{} // for each call of Release, a channel that ends it
}

func (h *askedHolder) Release(int) {
	end := make(chan struct{})
	h.asked <- end
	<-end
}

// calls returns the next n calls of Release.
func (h *askedHolder) calls(n int) (calls []chan struct{}) {
	for range n {
		calls = append(calls, <-h.asked)
	}
	return calls
}

// TestReleaseTwice checks that lanes are free exactly when the holder has released all of them,
// if it was asked for some of them before: whichever it answers first.
func TestReleaseTwice(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]bool{"some first": {false, true}, "all first": {true, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &askedHolder{asked: make(chan chan struct{})}
			l := &lanes{holder: h, released: make(chan struct{}, 1)}
			for lane := range versioning.Lanes {
				l.held = append(l.held, lane)
			}
			l.release(versioning.Lanes / 2)
			first := h.calls(versioning.Lanes / 2)
			l.release(0)
			second := h.calls(versioning.Lanes)
			if name == "all first" {
				first, second = second, first
			}
			for i, calls := range [][]chan struct{}{first, second} {
				for _, end := range calls {
					close(end)
				}
				<-l.released
				if got := l.isReleased(); got != want[i] {
					t.Errorf("after answer %d, the lanes are free: %t", i+1, got)
				}
			}
		})
	}
}
