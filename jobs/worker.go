package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/versioning"
)

// This file has the path of a job from River's worker to the changed entity, in the order in
// which it runs: Work, obtain, ask, call, answered or failed or lost, apply and settle.

// A worker is River's worker for a handler.
type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]
	Handler[A]
	store Store
}

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

// Timeout implements [river.Worker]. It must be positive: River does not rescue a job without
// a timeout from a worker that has died.
func (w *worker[A]) Timeout(*river.Job[A]) time.Duration {
	return 2*(maxWait+w.Provider.timeout()) + applyTimeout // it may ask before it calls
}

// An attempt is one run of a job.
type attempt[A river.JobArgs] struct {
	*worker[A]
	*progress
	call Call[A]
	row  *rivertype.JobRow
}

// Work implements [river.Worker].
func (w *worker[A]) Work(ctx context.Context, job *river.Job[A]) error {
	p, err := progressOf(job.JobRow)
	if err != nil {
		return river.JobCancel(err)
	}
	c := p.Cause
	a := &attempt[A]{worker: w, progress: p, row: job.JobRow, call: Call[A]{
		Key: c.key(), Args: job.Args, Entity: c.entity(), Version: c.Version, Event: c.Event, Attempt: job.Attempt, Row: job.JobRow,
	}}
	if a.Result == nil {
		if a.Result, err = a.obtain(ctx); err != nil {
			if errors.Is(err, errTakenOver) {
				<-ctx.Done() // what this attempt returns would count for the one that runs
			}
			return err
		}
	}
	return a.apply(ctx)
}

// obtain returns the result of the call: from an earlier one, if that may have been made, or
// else from a call. An error is what River gets: the job is retried, put off or cancelled.
func (a *attempt[A]) obtain(ctx context.Context) (*result, error) {
	if earlier, since := a.called(); earlier != "" {
		switch a.Class {
		case Once:
			return a.lost(ctx, errors.New("an earlier attempt has begun the call, and did not end"))
		case Queryable:
			if r, err := a.ask(ctx, since); r != nil || err != nil {
				return r, err
			}
		case Repeatable:
		}
	}
	return a.make(ctx)
}

// ask asks the provider about an earlier call. It returns nil if the call is to be made again.
func (a *attempt[A]) ask(ctx context.Context, since time.Time) (*result, error) {
	// Until then the provider may still be about to do it.
	if wait := a.Provider.timeout() - time.Since(since); wait > 0 {
		return nil, river.JobSnooze(wait)
	}
	leave, err := a.Provider.enter(ctx)
	if err != nil {
		return nil, a.putOff(err)
	}
	answer, err := limited(ctx, a.Provider.timeout(), a.call, a.Ask)
	leave()
	switch {
	case err != nil:
		return a.retry(ctx, fmt.Errorf("ask provider %q: %w", a.Provider.Name, err))
	case answer.kind == done:
		return a.answered(ctx, answer.changes)
	case answer.kind == pending:
		return nil, river.JobSnooze(answer.wait)
	case answer.kind == notDone:
		return nil, nil
	}
	return a.retry(ctx, fmt.Errorf("ask provider %q: Ask returned no answer", a.Provider.Name))
}

// make makes the call.
func (a *attempt[A]) make(ctx context.Context) (*result, error) {
	leave, err := a.Provider.enter(ctx)
	if err != nil {
		return nil, a.putOff(err)
	}
	defer leave() // Call may panic
	if a.Class != Repeatable {
		if err := a.markCall(ctx); err != nil {
			return nil, err
		}
	}
	changes, err := limited(ctx, a.Provider.timeout(), a.call, a.Call)
	if err != nil {
		return a.failed(ctx, fmt.Errorf("call provider %q: %w", a.Provider.Name, err))
	}
	return a.answered(ctx, changes)
}

// markCall records that the call is about to be made.
func (a *attempt[A]) markCall(ctx context.Context) error {
	err := markCall(ctx, a.row)
	if err == nil {
		// The mark is enough, unless Call records another output. River stores this when the
		// attempt ends, so not if the process dies.
		return noteCalled(ctx, a.row)
	}
	if !errors.Is(err, errTakenOver) {
		err = errors.Join(err, noteNotCalled(ctx, a.row)) // the mark may have been written
	}
	return err
}

// limited calls a function of the handler with a timeout.
func limited[A river.JobArgs, R any](ctx context.Context, timeout time.Duration, call Call[A], fn func(context.Context, Call[A]) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return fn(ctx, call)
}

// answered returns the result of a call that was made.
func (a *attempt[A]) answered(ctx context.Context, changes []versioning.Change) (*result, error) {
	r, err := newResult(changes)
	if err != nil {
		return a.failed(ctx, fmt.Errorf("the result of the call can't be kept: %w", err))
	}
	return r, nil
}

// failed decides about a call that has returned an error.
func (a *attempt[A]) failed(ctx context.Context, err error) (*result, error) {
	if _, ok := errors.AsType[*rivertype.JobCancelError](err); ok {
		return nil, err
	}
	if isNotCalled(err) {
		if a.Class != Repeatable {
			err = errors.Join(err, noteNotCalled(ctx, a.row))
		}
	} else if a.Class == Once {
		if after, ok := errors.AsType[*retryAfterError](err); ok {
			a.Provider.pause(after.wait)
		}
		return a.lost(ctx, err)
	}
	return a.retry(ctx, err)
}

// retry returns the error that makes River retry the job: later, if the provider has said
// when. After the last attempt it is lost, if the call may have been made.
func (a *attempt[A]) retry(ctx context.Context, err error) (*result, error) {
	if after, ok := errors.AsType[*retryAfterError](err); ok {
		a.Provider.pause(after.wait)
		a.Logger.InfoContext(ctx, "a provider wants to be called later", a.attrs(slog.Duration("wait", after.wait))...)
		return nil, river.JobSnooze(after.wait + jitter(after.wait))
	}
	if a.row.Attempt >= a.row.MaxAttempts && a.Unknown != "" && !isNotCalled(err) {
		return a.lost(ctx, err)
	}
	return nil, err
}

// lost returns the result of a job whose call may or may not have been made.
func (a *attempt[A]) lost(ctx context.Context, err error) (*result, error) {
	err = fmt.Errorf("%w: %w", ErrUnknown, err)
	a.Logger.WarnContext(ctx, "nobody knows whether a call was made", a.attrs(slog.Any("error", err))...)
	if a.Unknown == "" {
		return nil, river.JobCancel(err)
	}
	r, invalid := newResult(Event(a.Unknown, nil))
	if invalid != nil {
		return nil, river.JobCancel(errors.Join(err, invalid))
	}
	r.Unknown = true
	return r, river.MetadataSet(ctx, metadataKey+"_unknown", err.Error())
}

// putOff returns the error that makes River run the job later, because it is not its turn.
func (a *attempt[A]) putOff(err error) error {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return river.JobSnooze(busy.wait + jitter(busy.wait))
	}
	return fmt.Errorf("wait for provider %q: %w", a.Provider.Name, err)
}

// jitter keeps jobs that were put off together from coming back together.
func jitter(wait time.Duration) time.Duration { return rand.N(wait/4 + time.Second) }

// apply makes the changes of the result.
func (a *attempt[A]) apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	changes := a.Result.changes(a.Cause)
	if len(changes) == 0 {
		return nil
	}
	outcome, err := a.store.Do(ctx, changes...)
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

// settle ends the attempt, depending on the outcome of the changes.
func (a *attempt[A]) settle(ctx context.Context, o versioning.Outcome) error {
	switch {
	case o.Verdict <= versioning.Applied:
		return nil
	case a.Result.Unknown && o.Reason == versioning.ReasonMessageTaken:
		return nil // the answer was applied after all, by the attempt that was believed dead
	}
	if o.Verdict == versioning.Early {
		now := time.Now()
		if a.Result.Early.IsZero() {
			a.Result.Early = now
		}
		if early := now.Sub(a.Result.Early); early < a.EarlyFor {
			return errors.Join(noteResult(ctx, a.Result), river.JobSnooze(min(max(early/4, minEarlyWait), maxEarlyWait)))
		}
	}
	a.Logger.WarnContext(ctx, "an entity refuses the result of a call",
		a.attrs(slog.String("verdict", o.Verdict.String()), slog.String("reason", string(o.Reason)))...)
	return errors.Join(noteResult(ctx, a.Result), river.JobCancel(&RefusedError{o}))
}

// attrs returns the attributes of a log line.
func (a *attempt[A]) attrs(more ...any) []any {
	return append([]any{
		slog.String("kind", a.row.Kind), slog.Int64("job", a.row.ID), slog.String("machine", a.call.Entity.Machine),
		slog.String("entity", a.call.Entity.Key), slog.String("provider", a.Provider.Name),
	}, more...)
}
