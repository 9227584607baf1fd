package replay

import (
	"context"
	"errors"
	"time"

	"github.com/pawl-go/pawl/internal/pace"
	"github.com/pawl-go/pawl/versioning"
)

// Trouble with the database is retried for this long. A replay that gives up can be resumed.
const (
	shortestRetry = 100 * time.Millisecond
	longestRetry  = 5 * time.Second
	retryFor      = time.Minute
)

// retry calls work until it succeeds, fails for good, or the database has been in trouble for
// too long.
func (r *run) retry(ctx context.Context, work func() error) error {
	return r.retryAs(ctx, func(err error) { r.Logger.Warn("a batch could not be settled; trying again", "error", err) }, work)
}

// retryAs is like retry, with another line in the log.
func (r *run) retryAs(ctx context.Context, log func(error), work func() error) error {
	waits := pace.Growing(shortestRetry, longestRetry)
	for since := (time.Time{}); ; { // since the first failure; the work itself may take long
		err := work()
		if since.IsZero() {
			since = time.Now()
		}
		if err == nil || isFinal(err) || errors.Is(err, errEmptied) || time.Since(since) > retryFor {
			return err
		}
		log(err)
		if !pace.Sleep(ctx, waits.NextBackOff()) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// isFinal reports whether another attempt can't help.
func isFinal(err error) bool {
	return errors.Is(err, versioning.ErrSplitAgain) || errors.Is(err, versioning.ErrServerChanged) || errors.Is(err, versioning.ErrFatal)
}
