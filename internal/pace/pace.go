// Package pace has the waits between two attempts.
package pace

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Growing returns waits that grow from shortest to longest.
func Growing(shortest, longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = shortest, longest
	b.Reset()
	return b
}

// Sleep returns false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
