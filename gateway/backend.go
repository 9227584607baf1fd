package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Backend remembers which keys were used, and the response of each. It decides who runs a
// request: of any number of requests with one key, at any number of processes, at most one
// runs at a time, and none after a response was stored, until it expires.
//
// What a backend stores is opaque to it: the middleware encodes responses, encrypts them if
// it is configured to, and compares fingerprints. How long responses are kept is the
// backend's configuration.
//
// Implementations are safe for concurrent use. Package gatewaytest has the tests that each
// must pass. Two backends can be composed: a fast one that answers repeats and collisions,
// in front of one that decides.
type Backend interface {
	// Begin claims a key. It returns exactly one of these:
	//   - A run, if the key is free: the caller runs the request and must then call Finish
	//     or Release once.
	//   - The stored response, if there is one: the bytes that were passed to Finish. The
	//     caller must not alter them.
	//   - An [*InProgressError] if another run has claimed the key and not ended. Begin does
	//     not wait for it, and holds nothing when it returns.
	//   - An [*UnavailableError] if the backend can't tell now, but may later.
	//   - Any other error if retrying cannot help, such as a missing table.
	//
	// If ctx ends, Begin returns its error, and claims nothing. The run outlives ctx: only
	// Finish and Release end it.
	Begin(ctx context.Context, key Key) (run Run, stored []byte, err error)
}

// A Run is the claim on a key while its request runs. If the process dies, the claim ends by
// itself: at once, or when the backend's lease has expired.
//
// One goroutine at a time may use a Run. Each run ends with one call of Finish or Release,
// even if that call returns an error; calls after the first return [ErrEnded].
type Run interface {
	// Context returns the context for the handler: derived from ctx, with what the backend
	// gives to the handler, such as its transaction. A backend that loses the claim while
	// the handler runs may cancel it, with a cause.
	Context(ctx context.Context) context.Context

	// Finish stores the response and ends the run. If the backend gave the handler a
	// transaction, both commit together. When Finish returns nil, the response is as durable
	// as the backend makes it, and every later Begin returns it until it expires. (If it
	// expires at once, the key may still be claimed for a moment.) Errors:
	//   - [ErrTaken]: another run has stored a response. What the handler did in the
	//     backend's transaction is undone. Begin returns the other's response.
	//   - [ErrFateUnknown]: the response may be there or not, together with the transaction
	//     if there is one, and the backend can't tell. The next Begin tells. Without a
	//     transaction, what the handler did is there anyway.
	//   - Any other error: nothing was stored, the transaction is undone, and the key is free.
	//     An [*UnavailableError] says that trying again may help.
	Finish(ctx context.Context, result Result) error

	// Release ends the run without a response. What the handler did in the backend's
	// transaction is undone, and the key is free at once. After an error, the key becomes
	// free like that of a dead process.
	Release(ctx context.Context) error
}

// A Result is what a run ends with.
type Result struct {
	// Response is the encoded response. It is never empty.
	Response []byte

	// Undo says that the response refuses the request: the backend stores it, and undoes
	// what the handler did in the backend's transaction. Backends that give handlers no
	// transaction ignore it.
	Undo bool
}

var (
	// ErrFateUnknown matches an error of Finish after which it is not known whether the
	// response was stored. The middleware answers 503 with Retry-After: the retry gets the
	// stored response, or runs. If the backend gave the handler a transaction, it has
	// committed together with the response or not at all, so the change is not made twice. If
	// it gave none, the handler must be safe to run again.
	ErrFateUnknown = errors.New("it is not known whether the response was stored; the next request with the key gets it, or runs")

	// ErrTaken matches an error of Finish if another run has stored a response for the key.
	ErrTaken = errors.New("another request with the key has stored its response")

	// ErrEnded matches an error of Finish and Release if the run has already ended.
	ErrEnded = errors.New("the run has ended")
)

// An InProgressError says that a request with the same key is running.
type InProgressError struct {
	// RetryAfter is when to try again. 0 or less means a second.
	RetryAfter time.Duration
}

func (e *InProgressError) Error() string {
	return "a request with the same key is running"
}

// An UnavailableError says that a backend can't work now, but may later: it has no
// connection, is full, or has too many requests. Nothing has run.
type UnavailableError struct {
	// RetryAfter is when to try again. 0 or less means a second.
	RetryAfter time.Duration

	// Err is the reason.
	Err error
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("unavailable: %v", e.Err) }

// Unwrap returns the reason.
func (e *UnavailableError) Unwrap() error { return e.Err }
