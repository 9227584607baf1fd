package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-go/pawl/internal/handlertx"
	"github.com/pawl-go/pawl/versioning"
)

// maxRunning is the number of batches of calls that run at a time: each takes a connection.
// While they run, the calls that arrive gather into the next ones.
const maxRunning = 4

// maxCalls limits the calls of one batch.
const maxCalls = 1000

// While batches run, another one begins once it is as large as all of them together, or after
// gatherFor: many small transactions cost more than few large ones. So under load two batches
// run, and each has half of the callers. A call that comes while nothing runs begins at once.
const gatherFor = 2 * time.Millisecond

// calls gathers the records of concurrent callers into batches. An entity is in one running
// batch at most, so these batches do not contend with each other, and a batch that waits for
// the lock of a row holds up only the calls in it, and later calls for their entities.
type calls struct {
	apply func(context.Context, []*versioning.Record) (versioning.Result, error)

	mu       sync.Mutex
	running  int                            // batches
	inFlight int                            // the calls of these batches
	busy     map[versioning.Entity]struct{} // the entities of running batches
	queue    []*call                        // in the order of their arrival
	queued   map[versioning.Entity]int      // how many calls of the queue need an entity
	timer    *time.Timer                    // ends the wait for a larger batch; nil if there is none
}

func newCalls(apply func(context.Context, []*versioning.Record) (versioning.Result, error)) *calls {
	return &calls{apply: apply, busy: make(map[versioning.Entity]struct{}), queued: make(map[versioning.Entity]int)}
}

// A call is a record whose caller waits. The fields after done are guarded by the mutex of
// calls until done is closed.
type call struct {
	ctx      context.Context //nolint:containedctx // of the caller, who waits for the call
	record   *versioning.Record
	entities []versioning.Entity // as they were when the call began: Apply may prepare the record again
	done     chan struct{}

	batch   *gathered // nil while the call is in the queue
	outcome versioning.Outcome
	err     error
}

// gathered is a running batch of calls.
type gathered struct {
	calls  []*call
	left   int // callers that still wait
	cancel context.CancelFunc
}

// errInTransaction refuses a call of a handler that got a transaction from the gateway. The
// change would commit without that transaction, which may be rolled back, and it would take a
// second connection while the handler holds the first.
var errInTransaction = &versioning.Error{Cause: versioning.Fatal, Err: errors.New("the context is that of an HTTP handler with the gateway's transaction, " +
	"and the change would not be part of that transaction; give the gateway the backend of WithoutTransaction for handlers that call Do or Deliver")}

// do waits until a record is settled.
func (c *calls) do(ctx context.Context, r *versioning.Record) (versioning.Outcome, error) {
	if handlertx.Marked(ctx) {
		return versioning.Outcome{}, fmt.Errorf("nothing was changed: %w", errInTransaction)
	}
	if err := ctx.Err(); err != nil {
		return versioning.Outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	waiting := &call{ctx: ctx, record: r, done: make(chan struct{})}
	for i := range r.Changes {
		if e := r.Entity(i); !slices.Contains(waiting.entities, e) {
			waiting.entities = append(waiting.entities, e)
		}
	}
	if g := c.enter(waiting); g != nil {
		c.run(ctx, g)
	}
	select {
	case <-waiting.done:
		return waiting.outcome, waiting.err
	case <-ctx.Done():
		return c.leave(waiting)
	}
}

// enter puts the call into the queue. If nothing runs, it returns a batch that its caller must
// run. Otherwise it begins a batch if there are enough calls for one.
func (c *calls) enter(waiting *call) *gathered {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == 0 && len(c.queue) == 0 {
		return c.admit([]*call{waiting})
	}
	mayRun := !slices.ContainsFunc(waiting.entities, func(e versioning.Entity) bool { return c.isBusy(e) || c.queued[e] > 0 })
	c.queue = append(c.queue, waiting)
	c.count(waiting, 1)
	if mayRun { // otherwise the others can't run either
		c.next(false)
	}
	return nil
}

func (c *calls) isBusy(e versioning.Entity) bool {
	_, busy := c.busy[e]
	return busy
}

func (c *calls) count(waiting *call, n int) {
	for _, e := range waiting.entities {
		if c.queued[e] += n; c.queued[e] == 0 {
			delete(c.queued, e)
		}
	}
}

// leave gives up a call, unless it has just been settled.
func (c *calls) leave(waiting *call) (versioning.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-waiting.done:
		return waiting.outcome, waiting.err
	default:
	}
	cause := waiting.ctx.Err()
	if waiting.batch == nil {
		i := slices.Index(c.queue, waiting)
		c.queue = slices.Delete(c.queue, i, i+1)
		c.count(waiting, -1)
		if slices.ContainsFunc(waiting.entities, func(e versioning.Entity) bool { return c.queued[e] > 0 && !c.isBusy(e) }) {
			c.next(false) // a call behind it may have waited for it only
		}
		return versioning.Outcome{}, fmt.Errorf("nothing was changed: %w", cause)
	}
	if waiting.batch.left--; waiting.batch.left == 0 {
		waiting.batch.cancel()
	}
	return versioning.Outcome{}, fmt.Errorf("%w: %w", versioning.ErrFateUnknown, cause)
}

// next begins batches with the calls of the queue that can run now, as long as there are enough
// for one. The first one may be smaller if now is true.
func (c *calls) next(now bool) {
	for c.running < maxRunning && len(c.queue) > 0 && (now || c.isWorth(len(c.queue))) {
		batch, rest := c.pick()
		if len(batch) == 0 {
			return // the end of a batch changes that, or another call
		}
		if !now && !c.isWorth(len(batch)) {
			break
		}
		for _, waiting := range batch {
			c.count(waiting, -1)
		}
		c.queue, now = rest, false
		c.begin(batch)
	}
	if c.timer == nil && c.running < maxRunning && len(c.queue) > 0 {
		c.timer = time.AfterFunc(gatherFor, c.endWait)
	}
}

// isWorth reports whether so many calls make a batch as large as all that run together.
func (c *calls) isWorth(n int) bool { return n >= c.inFlight }

func (c *calls) endWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	c.next(true)
}

// pick divides the queue into the calls of the next batch and the rest.
func (c *calls) pick() (batch, rest []*call) {
	passed := make(map[versioning.Entity]struct{}) // the entities of calls that can't run yet
	for _, waiting := range c.queue {
		switch {
		case waiting.ctx.Err() != nil: // its caller is about to leave
			rest = append(rest, waiting)
		case len(batch) == maxCalls || !c.mayRun(waiting, passed):
			for _, e := range waiting.entities {
				passed[e] = struct{}{}
			}
			rest = append(rest, waiting)
		default:
			batch = append(batch, waiting)
		}
	}
	return batch, rest
}

// mayRun reports whether none of a call's entities is in a running batch or needed by a call
// before it.
func (c *calls) mayRun(waiting *call, passed map[versioning.Entity]struct{}) bool {
	return !slices.ContainsFunc(waiting.entities, func(e versioning.Entity) bool {
		_, behind := passed[e]
		return behind || c.isBusy(e)
	})
}

// begin runs calls as one batch. Its context is canceled when no caller waits any more. It has
// the values of the caller's context only if there is one caller: the pool may take a tenant
// from them.
func (c *calls) begin(batch []*call) {
	ctx := context.Background()
	if len(batch) == 1 {
		ctx = context.WithoutCancel(batch[0].ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	g := c.admit(batch)
	g.cancel = cancel
	go c.run(ctx, g)
}

// admit counts a batch as running.
func (c *calls) admit(batch []*call) *gathered {
	g := &gathered{calls: batch, left: len(batch), cancel: func() {}}
	c.running++
	c.inFlight += len(batch)
	for _, one := range batch {
		one.batch = g
		for _, e := range one.entities {
			c.busy[e] = struct{}{}
		}
	}
	return g
}
