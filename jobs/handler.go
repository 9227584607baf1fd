package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// A Class says what may be done about a call whose answer is lost: because it timed out,
// because the connection broke, or because the process died. Choose one; the zero value is
// none.
type Class uint8

const (
	// Repeatable calls may be made again: the provider does only once what comes with the
	// same [Call.Key], or doing it twice does no harm.
	Repeatable Class = iota + 1

	// Queryable calls may be made again after the provider, asked by [Handler.Ask], has said
	// that it knows nothing of the first one.
	Queryable

	// Once calls are never made again, once a call may have begun. If its answer is lost, the
	// job ends as [Handler.Unknown], or is cancelled with [ErrUnknown], for a person.
	Once
)

var classNames = [...]string{"none", "repeatable", "queryable", "once"}

// String returns the class's name in lower case.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// A Call is what a handler is to do.
type Call[A river.JobArgs] struct {
	// Key identifies the job. It is the same on each attempt, so it is the idempotency key
	// for the provider. See [KeyOf].
	Key string

	// Args are what the action enqueued.
	Args A

	// Entity, Version and Event are those of the step that enqueued the job. Version is the
	// entity's version after the step; it may have moved on.
	Entity  versioning.Entity
	Version int64
	Event   statemachine.Event

	// Attempt counts from 1 to the job's MaxAttempts, and beyond if somebody retries a job whose
	// attempts are used up. Attempts that were put off do not count.
	Attempt int

	// Row is River's row of the job. Do not change it.
	Row *rivertype.JobRow
}

// A Handler makes the calls of one kind of job. Its functions are called concurrently.
type Handler[A river.JobArgs] struct {
	// Class says whether a call may be repeated. Required.
	Class Class

	// Call makes the call, and returns the changes that its result is: see [Event]. A
	// refusal by the provider, such as a declined card, is a result too. No changes mean
	// that the entity need not know. Required.
	//
	// An error, or a panic, means that the result is not known. What happens then depends on the class:
	// a Repeatable call is retried by River, a Queryable one after asking, and a job of class
	// Once ends. [NotCalled] and [RetryAfter] say more about the error, and River's JobCancel
	// ends the job.
	//
	// ctx ends when [Provider.Timeout] is over, and when River's client is stopped hard. Call
	// must return then. No database connection is held meanwhile.
	Call func(ctx context.Context, call Call[A]) ([]versioning.Change, error)

	// Ask asks the provider what became of an earlier call. Required for class Queryable,
	// and only there. An error, or a panic, means that it could not be asked; River retries that.
	//
	// It is not called before [Provider.Timeout] has passed since the call began.
	Ask func(ctx context.Context, call Call[A]) (Answer, error)

	// Unknown is the event that happens to the entity when nobody knows whether the call was
	// made: at once for class Once, and for the others after the last attempt has failed, or was
	// killed. It must be one whose functions take no data. Empty means that there is no such
	// event: the job is cancelled, or, for the other classes, discarded, with [ErrUnknown].
	//
	// It does not happen if no attempt can have made the call. Then the job is discarded,
	// without ErrUnknown.
	Unknown statemachine.Event

	// Provider has the limits for the calls. nil means no limits, and a timeout of 30 seconds.
	Provider *Provider

	// EarlyFor limits how long a result that is [versioning.Early] is tried again. After that
	// it is parked beside its entity, and the job is cancelled. 0 means 24 hours; negative means
	// that it is not tried again.
	EarlyFor time.Duration

	// Logger logs results that the entity refuses, and lost answers. nil means no logging:
	// River logs errors too.
	Logger *slog.Logger
}

// Event returns the changes of a result that is one event of the job's own entity. data is
// the event's data, or nil.
func Event(e statemachine.Event, data any) []versioning.Change {
	return []versioning.Change{{Event: e, Data: data}}
}

// An Answer is what a provider says about an earlier call. The zero value is not an answer.
type Answer struct {
	kind    answerKind
	changes []versioning.Change
	wait    time.Duration
}

type answerKind uint8

const (
	noAnswer answerKind = iota
	done
	notDone
	pending
)

// Done says that the call was made, and what its result is, as [Handler.Call] returns it.
func Done(changes ...versioning.Change) Answer { return Answer{kind: done, changes: changes} }

// NotDone says that the provider has not done it, and is not about to. The call is made again.
func NotDone() Answer { return Answer{kind: notDone} }

// Pending says that the provider does not know yet, and is to be asked again after a time of
// at least a second. That does not count as an attempt.
func Pending(wait time.Duration) Answer { return Answer{kind: pending, wait: max(wait, time.Second)} }

// A Store makes the changes that results are. A [postgres.Store] is one: Deliver keeps what
// can't be made.
type Store interface {
	Do(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error)
	Deliver(ctx context.Context, changes ...versioning.Change) (versioning.Outcome, error)
}

// Add adds a handler for the jobs with args A to River's workers. Call it before the workers
// are given to a River client. The error lists all problems of the handler.
//
// The changes of a result go through the store's Do, and those that the entity refuses through
// its Deliver, which keeps them. A change's Machine and Key, if they are
// empty, are those of the entity whose step enqueued the job, and its MessageID is derived
// from the job's key. So a job that runs twice changes its entity once. If the two results
// differ, the first one counts, and the second one is Diverged: a dead letter.
//
// A result must be the same after it was stored as JSON: the Data of a change as encoding/json
// does it, and the values in Set as scalars, or as PostgreSQL's text.
func Add[A river.JobArgs](workers *river.Workers, store Store, h Handler[A]) error {
	if err := h.validate(store); err != nil {
		var args A
		return fmt.Errorf("the handler of %T: %w", args, err)
	}
	if h.Provider == nil {
		h.Provider = &Provider{Name: "unnamed"}
	}
	if h.EarlyFor == 0 {
		h.EarlyFor = 24 * time.Hour
	}
	if h.Logger == nil {
		h.Logger = slog.New(slog.DiscardHandler)
	}
	return river.AddWorkerSafely(workers, &worker[A]{store: store, Handler: h})
}

// validate returns all problems of a handler.
func (h *Handler[A]) validate(store Store) error {
	var problems []error
	check := func(bad bool, problem string) {
		if bad {
			problems = append(problems, errors.New(problem))
		}
	}
	check(store == nil, "it has no store")
	check(h.Class < Repeatable || h.Class > Once, "it has no Class: say whether a call may be repeated")
	check(h.Call == nil, "it has no Call")
	check(h.Class == Queryable && h.Ask == nil, "its class is Queryable, but it has no Ask")
	check(h.Class != Queryable && h.Ask != nil, "it has an Ask, but its class is not Queryable")
	if h.Provider != nil {
		problems = append(problems, h.Provider.validate())
	}
	return errors.Join(problems...)
}
