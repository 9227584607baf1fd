package consumer

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// backOff returns waits that grow from RetryMin to RetryMax.
func (c Config) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = c.RetryMin, c.RetryMax
	b.Reset()
	return b
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
