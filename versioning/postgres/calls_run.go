package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/pawl-go/pawl/versioning"
)

// This file applies a batch of calls.

// errExited says that a callback has ended the goroutine of a batch.
var errExited = errors.New("a function or a hook called runtime.Goexit")

func (c *calls) run(ctx context.Context, g *gathered) {
	defer g.cancel()
	errs := make([]error, len(g.calls))
	for i := range errs {
		errs[i] = fateAfter(errExited)
	}
	outcomes := make([]versioning.Outcome, len(g.calls))
	defer func() { c.settle(g, outcomes, errs) }()
	c.applyAll(ctx, g, outcomes, errs)
}

// attemptsOfCalls limits how often calls are tried if PostgreSQL rolls back their transaction.
const attemptsOfCalls = 5

// applyAll applies the records of a batch. It tries again if PostgreSQL has certainly rolled
// back the transaction: other callers of the batch, or a worker, may be the reason. It goes on
// without a call whose row is locked for longer than lock_timeout.
func (c *calls) applyAll(ctx context.Context, g *gathered, outcomes []versioning.Outcome, errs []error) {
	records := make([]*versioning.Record, len(g.calls))
	for i, one := range g.calls {
		records[i] = one.record
	}
	var all versioning.Result
	for attempt := 1; len(all.Outcomes) < len(records); attempt++ {
		done := len(all.Outcomes)
		part, err := c.safely(ctx, records[done:])
		all = appendResult(all, part, records[:done])
		copy(outcomes, all.Outcomes)
		clear(errs[done:len(all.Outcomes)])
		rest := errs[len(all.Outcomes):]
		for i := range rest {
			rest[i] = fateAfter(err)
		}
		switch {
		case ctx.Err() != nil:
			return
		case isRolledBack(err) && attempt < attemptsOfCalls:
		case isCode(err, lockNotAvailable) && len(rest) > 0:
			all.Outcomes = append(all.Outcomes, versioning.Outcome{}) // the store has tried its record alone
			attempt = 0
		default:
			return
		}
	}
}

// settle tells the callers of a batch what has become of their records.
func (c *calls) settle(g *gathered, outcomes []versioning.Outcome, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.inFlight -= len(g.calls)
	for i, one := range g.calls {
		for _, e := range one.entities {
			delete(c.busy, e)
		}
		if one.err = errs[i]; one.err == nil {
			one.outcome = outcomes[i]
		}
		close(one.done)
	}
	c.next(c.running == 0)
}

// isRolledBack reports whether an error proves that the transaction was rolled back, and that
// another attempt may succeed.
func isRolledBack(err error) bool { return isCode(err, serializationFailure, deadlockDetected) }

// fateAfter returns an error that says whether changes may have been made although there was
// the given one.
func fateAfter(err error) error {
	if isRolledBack(err) || isCode(err, lockNotAvailable) {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	return fmt.Errorf("%w: %w", versioning.ErrFateUnknown, err)
}

// safely applies records. A panic must not end a process whose handlers recover from them.
func (c *calls) safely(ctx context.Context, records []*versioning.Record) (result versioning.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = versioning.Result{}, &versioning.PanicError{Callback: "Apply", Value: p, Stack: debug.Stack()}
		}
	}()
	return c.apply(ctx, records)
}
