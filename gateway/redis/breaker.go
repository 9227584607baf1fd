package redis

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A breaker keeps requests away from a server that does not answer, so that only one in each
// cooldown waits for it.
type breaker struct {
	cooldown time.Duration
	log      *slog.Logger
	start    time.Time    // the origin of until; monotonic
	until    atomic.Int64 // 0 while the server answers, or when it may be asked again
}

func newBreaker(cooldown time.Duration, log *slog.Logger) *breaker {
	return &breaker{cooldown: cooldown, log: log, start: time.Now()}
}

// allows reports whether the server may be asked now.
func (k *breaker) allows() bool {
	until := k.until.Load()
	if until == 0 {
		return true
	}
	now := int64(time.Since(k.start))
	return now >= until && k.until.CompareAndSwap(until, now+int64(k.cooldown))
}

// isOpen reports whether the server is not to be used because it has failed the last time.
func (k *breaker) isOpen() bool { return k.until.Load() != 0 }

func (k *breaker) answered(ctx context.Context) {
	if k.until.Load() != 0 && k.until.Swap(0) != 0 {
		k.log.InfoContext(ctx, "redis answers again")
	}
}

func (k *breaker) failed(ctx context.Context, err error) {
	if k.until.Swap(int64(time.Since(k.start)+k.cooldown)) == 0 {
		k.log.WarnContext(ctx, "redis is not used for now; the backend behind it decides alone", "error", err)
	}
}
