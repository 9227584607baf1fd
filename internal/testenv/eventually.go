package testenv

import (
	"context"
	"testing"
	"time"

	"github.com/pawl-go/pawl/internal/testdb"
)

// pollEvery is the time between calls of check in Eventually.
const pollEvery = 5 * time.Millisecond

// Eventually calls check until it returns nil. It fails the test with the last
// error if that takes longer than within. It makes the first call at once.
func Eventually(tb testing.TB, within time.Duration, check func() error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := testdb.Poll(ctx, pollEvery, check); err != nil {
		tb.Fatalf("still failing after %v: %v", within, err)
	}
}
