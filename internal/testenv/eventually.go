package testenv

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// pollEvery is the time between calls of check in Eventually.
const pollEvery = 5 * time.Millisecond

// Eventually calls check until it returns nil. It fails the test with the last
// error if that takes longer than within. It makes the first call at once.
func Eventually(tb testing.TB, within time.Duration, check func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := poll(ctx, pollEvery, check); err != nil {
		tb.Fatalf("still failing after %v: %v", within, err)
	}
}

// poll calls check until it returns nil or ctx is done.
func poll(ctx context.Context, every time.Duration, check func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}
