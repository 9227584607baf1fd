package postgres

import (
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// A guard lets one call at a time use the connection of a handler's transaction, and none
// after the handler has returned: a goroutine of the handler that goes on must not meet the
// gateway's own statements, or those of the next request, on the connection. It never waits:
// a call may run code of the handler, which may make calls itself.
type guard struct {
	use atomic.Int32
	raw atomic.Bool // the handler has got the connection itself, which is not guarded
}

// The values of guard.use.
const (
	unused int32 = iota
	used
	over
)

var errInUse = errors.New("conn busy: another call uses the transaction")

// enter begins a call. If it returns nil, leave must be called.
func (g *guard) enter() error {
	switch {
	case g.use.CompareAndSwap(unused, used):
		return nil
	case g.use.Load() == over:
		return pgx.ErrTxClosed
	}
	return errInUse
}

// leave ends a call.
func (g *guard) leave() { g.use.CompareAndSwap(used, unused) }

// do makes a call, which may panic: it may run code of the handler.
func (g *guard) do(call func() error) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return call()
}

// expose notes that the handler gets the connection itself. It returns false if the handler
// has returned.
func (g *guard) expose() bool {
	g.raw.Store(true) // before the look: what end finds is complete then
	return g.use.Load() != over
}

// end refuses all calls from now. It reports whether one is in flight. That call may still use
// the connection, so nobody else may, except to close its socket.
func (g *guard) end() (inFlight bool) { return g.use.Swap(over) == used }
