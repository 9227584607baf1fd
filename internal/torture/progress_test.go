package main

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func settled(partition int32, next int64) (string, report) {
	return "worker", report{Records: 1, Next: map[int32]int64{partition: next}}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProgress(slog.New(slog.DiscardHandler))
		want := func(longest time.Duration, lag int64) {
			t.Helper()
			if got := p.lag(); got != lag {
				t.Errorf("lag %d, want %d", got, lag)
			}
			if p.longest != longest {
				t.Errorf("longest stall %v, want %v", p.longest, longest)
			}
		}
		pass(time.Hour)
		p.produced(0, 10)
		want(0, 10)
		pass(3 * time.Second)
		want(3*time.Second, 10)
		p.settled(settled(0, 5))
		pass(2 * time.Second)
		p.produced(0, 11) // does not restart the wait
		pass(2 * time.Second)
		want(4*time.Second, 6)
		p.settled(settled(0, 3)) // settled again: no progress
		pass(time.Second)
		p.settled(settled(0, 11))
		want(5*time.Second, 0)
		pass(time.Hour) // without lag
		p.produced(0, 12)
		p.settled(settled(0, 12))
		want(5*time.Second, 0)
		p.produced(0, 13)
		over := p.outage()
		pass(time.Hour)
		want(5*time.Second, 1)
		over()
		pass(time.Second)
		p.settled(settled(0, 13))
		want(5*time.Second, 0)
		p.settled(settled(1, 8)) // reported before the producer records the offset
		p.produced(1, 8)
		want(5*time.Second, 0)
	})
}

// pass lets time pass on the bubble's clock.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // virtual time
