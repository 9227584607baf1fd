package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/versioning"
)

// This file has the path of a job from River's worker to the changed entity, in the order in
// which it runs: Work, obtain, ask, make, answered or failed or lost. The rest is in apply.go.

// A worker is River's worker for a handler.
type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]
	Handler[A]
	store Store
}

// lookAgain is the wait for another attempt of the job.
const lookAgain = time.Second

// Timeout implements [river.Worker]. It must be positive: River does not rescue a job without
// a timeout from a worker that has died.
func (w *worker[A]) Timeout(*river.Job[A]) time.Duration {
	return 2*(maxWait+w.Provider.timeout()) + applyTimeout // it may ask before it calls
}

// NextRetry implements [river.Worker]. Only the attempt that settles the job does not wait: it
// makes no call.
func (w *worker[A]) NextRetry(job *river.Job[A]) time.Time {
	p, err := progressOf(job.JobRow)
	if err != nil || job.Attempt != p.Cause.Attempts {
		return time.Time{} // River's policy says when
	}
	return time.Now()
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
	if err = a.run(ctx); ctx.Err() != nil || errors.Is(err, errTakenOver) {
		a.letOthersEnd(ctx)
	}
	return withoutNUL(p.noteEnd(ctx, job.JobRow, err))
}

// run obtains the result, unless an earlier attempt has, and applies it.
func (a *attempt[A]) run(ctx context.Context) (err error) {
	if a.Result == nil {
		if a.Result, err = a.obtain(ctx); err != nil {
			return err
		}
		a.Result.Key = a.call.Key
	}
	return a.apply(ctx)
}

// letOthersEnd waits as long as another attempt of the job runs. There may be one if this
// process was stopped for so long that River believed it dead. River would take what this
// attempt returns for the end of that one, because it changes a job by its ID.
func (a *attempt[A]) letOthersEnd(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Timeout(nil))
	defer cancel()
	for first := true; ; first = false {
		other, err := runsElsewhere(ctx, a.row)
		if err != nil || !other {
			return
		}
		if first {
			a.Logger.WarnContext(ctx, "another worker has got a job that still ran here; check RescueStuckJobsAfter", a.attrs()...)
		}
		if sleep(ctx, lookAgain) != nil {
			return
		}
	}
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
	if a.settles() {
		return a.giveUp(ctx)
	}
	return a.make(ctx)
}

// settles reports whether this is the attempt that the queue has added to those that may call.
// It makes no call, so it finds out how the last call ended even if its process was killed.
func (a *attempt[A]) settles() bool {
	return a.Cause.Attempts > 0 && a.row.Attempt == a.Cause.Attempts+1
}

// giveUp ends a job that has used up its attempts.
func (a *attempt[A]) giveUp(ctx context.Context) (*result, error) {
	err := errors.New("no attempt is left")
	if n := len(a.row.Errors); n > 0 {
		last, _, _ := strings.Cut(a.row.Errors[n-1].Error, "\n") // without the stack of a panic
		err = fmt.Errorf("%w; the last one: %s", err, last)
	}
	return a.retry(ctx, err, false)
}

// ask asks the provider about an earlier call. It returns nil if the call is to be made again.
func (a *attempt[A]) ask(ctx context.Context, since time.Time) (*result, error) {
	// Until then the provider may still be about to do it.
	if wait := a.Provider.timeout() - time.Since(since); wait > 0 {
		return nil, river.JobSnooze(wait)
	}
	leave, err := a.Provider.enter(ctx)
	if err != nil {
		return a.putOff(ctx, err, true)
	}
	defer leave()
	answer, err := limited(ctx, a.Provider.timeout(), a.call, a.Ask)
	switch {
	case err != nil:
		return a.retry(ctx, fmt.Errorf("ask provider %q: %w", a.Provider.Name, err), true)
	case answer.kind == done:
		return a.answered(ctx, answer.changes)
	case answer.kind == pending:
		return nil, river.JobSnooze(answer.wait)
	case answer.kind == notDone:
		return nil, nil
	}
	return a.retry(ctx, fmt.Errorf("ask provider %q: Ask returned no answer", a.Provider.Name), true)
}

// make makes the call.
func (a *attempt[A]) make(ctx context.Context) (*result, error) {
	leave, err := a.Provider.enter(ctx)
	if err != nil {
		return a.putOff(ctx, err, false)
	}
	defer leave()
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
	err := markCall(ctx, a.row, a.call.Key)
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

// limited calls a function of the handler with a timeout. A panic becomes an error.
func limited[A river.JobArgs, R any](ctx context.Context, timeout time.Duration, call Call[A], fn func(context.Context, Call[A]) (R, error)) (r R, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n\n%s", p, debug.Stack())
		}
	}()
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
	called := !isNotCalled(err)
	switch {
	case called && a.Class == Once:
		if after, ok := errors.AsType[*retryAfterError](err); ok {
			a.Provider.pause(after.wait)
		}
		return a.lost(ctx, err)
	case called && a.Class == Repeatable:
		err = errors.Join(err, noteCalled(ctx, a.row))
	case !called && a.Class != Repeatable:
		err = errors.Join(err, noteNotCalled(ctx, a.row))
	}
	return a.retry(ctx, err, called)
}

// retry returns the error that makes River retry the job: later, if the provider has said
// when. After the last attempt the job is lost, if a call may have been made: called says so of
// this attempt, and of the one that it has asked about.
func (a *attempt[A]) retry(ctx context.Context, err error, called bool) (*result, error) {
	if after, ok := errors.AsType[*retryAfterError](err); ok {
		a.Provider.pause(after.wait)
		a.Logger.InfoContext(ctx, "a provider wants to be called later", a.attrs(slog.Duration("wait", after.wait))...)
		return nil, river.JobSnooze(after.wait + jitter(after.wait))
	}
	if a.Class == Repeatable && !called {
		if called = a.mayHaveCalled(a.row.Attempt); !called && ctx.Err() == nil {
			err = errors.Join(err, noteNoneCalled(ctx, a.row))
		}
	}
	switch {
	case !called || a.row.Attempt < a.row.MaxAttempts:
		return nil, err
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, errors.Join(err, ctx.Err()) // the client is being stopped; then River runs the attempt again
	}
	return a.lost(ctx, err)
}

// lost returns the result of a job whose call may or may not have been made.
func (a *attempt[A]) lost(ctx context.Context, err error) (*result, error) {
	err = fmt.Errorf("%w: %w", ErrUnknown, err)
	a.Logger.WarnContext(ctx, "nobody knows whether a call was made", a.attrs(slog.Any("error", err))...)
	switch {
	case a.Unknown == "" && a.Class == Once:
		return nil, river.JobCancel(err)
	case a.Unknown == "":
		return nil, err // it was the last attempt
	}
	err = withoutNUL(err)
	r, invalid := newResult(Event(a.Unknown, nil))
	if invalid != nil {
		return nil, river.JobCancel(errors.Join(err, invalid))
	}
	r.Unknown = true
	return r, river.MetadataSet(ctx, metadataKey+"_unknown", err.Error())
}

// putOff returns the error that makes River run the job later, because it is not its turn.
// called is for retry.
func (a *attempt[A]) putOff(ctx context.Context, err error, called bool) (*result, error) {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return nil, river.JobSnooze(busy.wait + jitter(busy.wait))
	}
	return a.retry(ctx, fmt.Errorf("wait for provider %q: %w", a.Provider.Name, err), called)
}

// jitter keeps jobs that were put off together from coming back together.
func jitter(wait time.Duration) time.Duration { return rand.N(wait/4 + time.Second) }

// attrs returns the attributes of a log line.
func (a *attempt[A]) attrs(more ...any) []any {
	return append([]any{
		slog.String("kind", a.row.Kind), slog.Int64("job", a.row.ID), slog.String("machine", a.call.Entity.Machine),
		slog.String("entity", a.call.Entity.Key), slog.String("provider", a.Provider.Name),
	}, more...)
}
