package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/pawl-go/pawl/versioning"
)

const (
	// applyTimeout limits the time for applying a result. It also runs when River's client is
	// being stopped: the call has been made.
	applyTimeout = 15 * time.Second

	// tryAgain is the wait after the database could not apply a result.
	tryAgain = 5 * time.Second

	// An early result is tried again after a quarter of the time that it has been early,
	// within these limits.
	minEarlyWait = time.Second
	maxEarlyWait = time.Minute
)

// apply makes the changes of the result.
func (a *attempt[A]) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	changes := a.Result.changes(a.Cause)
	if len(changes) == 0 {
		return nil
	}
	outcome, err := a.store.Do(ctx, changes...)
	if err == nil && a.refused(outcome) && !a.waits(outcome) {
		outcome, err = a.store.Deliver(ctx, changes...)
	}
	if err == nil {
		return a.settle(ctx, outcome)
	}
	if err := noteResult(ctx, a.Result); err != nil {
		return err
	}
	if versioning.CauseOf(err) == versioning.Fatal {
		return fmt.Errorf("apply the result of the call: %w", err)
	}
	a.Logger.WarnContext(ctx, "the result of a call can't be applied yet", a.attrs(slog.Any("error", err))...)
	return river.JobSnooze(tryAgain)
}

// refused reports whether the entity does not take the result, or not yet.
func (a *attempt[A]) refused(o versioning.Outcome) bool {
	if a.Result.Unknown && o.Reason == versioning.ReasonMessageTaken {
		return false // the answer was applied after all, by the attempt that was believed dead
	}
	return o.Verdict > versioning.Applied
}

// waits reports whether the result is early, and is to be tried again.
func (a *attempt[A]) waits(o versioning.Outcome) bool {
	if o.Verdict != versioning.Early {
		return false
	}
	if a.Result.Early.IsZero() {
		a.Result.Early = time.Now()
	}
	return time.Since(a.Result.Early) < a.EarlyFor
}

// settle ends the attempt, depending on the outcome of the changes.
func (a *attempt[A]) settle(ctx context.Context, o versioning.Outcome) error {
	switch {
	case !a.refused(o):
		return nil
	case a.waits(o):
		early := time.Since(a.Result.Early)
		return errors.Join(noteResult(ctx, a.Result), river.JobSnooze(min(max(early/4, minEarlyWait), maxEarlyWait)))
	}
	a.Logger.WarnContext(ctx, "an entity refuses the result of a call",
		a.attrs(slog.String("verdict", o.Verdict.String()), slog.String("reason", string(o.Reason)))...)
	return errors.Join(noteResult(ctx, a.Result), river.JobCancel(&RefusedError{o}))
}
