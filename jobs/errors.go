package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// ErrUnknown says that nobody knows whether a call was made: its answer was lost. The job is
// cancelled or discarded with this error if the handler names no event for that.
var ErrUnknown = errors.New("the call may or may not have been made: its answer is lost")

// errTakenOver says that River has given the job to another worker meanwhile.
var errTakenOver = errors.New("another attempt has taken over the job")

// NotCalled says of an error of [Handler.Call] that the call was certainly not made: the
// provider has refused it without doing anything, or was not reached. Then the job is retried
// whatever its class. It returns nil if err is nil.
func NotCalled(err error) error {
	if err == nil {
		return nil
	}
	return &notCalledError{err}
}

type notCalledError struct{ err error }

func (e *notCalledError) Error() string { return e.err.Error() }
func (e *notCalledError) Unwrap() error { return e.err }

// RetryAfter says of an error of [Handler.Call] or [Handler.Ask] that the provider wants no
// more calls for a time. The job is retried after that, which does not count as an attempt,
// and no other handler of this process calls the provider meanwhile. A wait of less than a
// second counts as a second, one of more than a day as a day.
//
// It does not say that the call was not made; see [NotCalled]. Without that, a job of class
// [Once] is not retried. It returns nil if err is nil.
func RetryAfter(err error, wait time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, min(max(wait, time.Second), 24*time.Hour)}
}

type retryAfterError struct {
	err  error
	wait time.Duration
}

func (e *retryAfterError) Error() string { return fmt.Sprintf("%v (wait %v)", e.err, e.wait) }
func (e *retryAfterError) Unwrap() error { return e.err }

// A RefusedError says that the entity refused the result of a job. The store keeps the result:
// as a dead letter, or parked if it is early. The job is cancelled with this error, so that
// somebody sees it. It keeps the result too: when it is retried in River's UI, the result is
// tried again, without a call.
type RefusedError struct {
	Outcome versioning.Outcome
}

// Error describes the outcome. It may quote what the provider has said.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the result of the call is %s (%s): event %q of %s: %s",
		e.Outcome.Verdict, e.Outcome.Reason, e.Outcome.Event, e.Outcome.Entity, e.Outcome.Detail)
}

// withoutNUL returns an error whose text PostgreSQL can store. River writes the ends of many
// jobs with one statement, and one NUL, of an answer that an error quotes, would fail it.
func withoutNUL(err error) error {
	if err == nil || !strings.ContainsRune(err.Error(), 0) {
		return err
	}
	return &cleanError{err}
}

type cleanError struct{ err error }

func (e *cleanError) Error() string { return strings.ReplaceAll(e.err.Error(), "\x00", "\uFFFD") }
func (e *cleanError) Unwrap() error { return e.err }

// isNotCalled reports whether a call was certainly not made.
func isNotCalled(err error) bool {
	_, ok := errors.AsType[*notCalledError](err)
	return ok
}
