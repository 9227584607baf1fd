package consumer

import (
	"context"

	"github.com/cenkalti/backoff/v5"

	"github.com/pawl-go/pawl/internal/pace"
)

// backOff returns waits that grow from RetryMin to RetryMax.
func (c Config) backOff() *backoff.ExponentialBackOff { return pace.Growing(c.RetryMin, c.RetryMax) }

// A pause is a wait that grows with each call of wait until over is called.
type pause struct {
	retry *backoff.ExponentialBackOff
}

func (p *pause) over() { p.retry.Reset() }

// wait returns false if ctx ended first.
func (p *pause) wait(ctx context.Context) bool { return pace.Sleep(ctx, p.retry.NextBackOff()) }
