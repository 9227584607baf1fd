package sim

import (
	"context"
	"fmt"

	"github.com/pawl-go/pawl/versioning"
)

// This file has a worker's access to the outbox and the timers of the store.

// Emits is false in histories without alarms: they need no relay.
func (h *handle) Emits() bool { return h.worker.world.script.alarms > 0 }

// HoldLanes calls the store. A worker that dies loses its lanes to others at once.
func (h *handle) HoldLanes(ctx context.Context, holder versioning.LaneHolder) error {
	w := h.worker
	w.mu.Lock()
	if w.dead.Load() {
		w.mu.Unlock()
		return errDead
	}
	w.holder = holder
	w.mu.Unlock()
	return w.world.store.HoldLanes(ctx, holder)
}

// loseLanes takes the lanes from a dead worker.
func (w *worker) loseLanes() {
	w.mu.Lock()
	holder := w.holder
	w.mu.Unlock()
	if holder != nil {
		w.world.store.LoseLanes(holder)
	}
}

// alive runs a call of the outbox, which may fail, and of which nothing remains if the worker
// is dead. A worker may also die after it.
func (h *handle) alive(do func() error) error {
	w := h.worker
	if w.dead.Load() {
		return errDead
	}
	fails := nothing
	if c := w.nextCall(); c.fails == refused || c.fails == lost {
		fails = c.fails
	}
	if fails == refused {
		return errDown
	}
	err := do()
	if w.dead.Load() {
		return errDead
	}
	if fails == lost {
		return errDown
	}
	return err
}

// Packs calls the store.
func (h *handle) Packs(ctx context.Context, want []versioning.Wanted) (packs []versioning.Pack, err error) {
	err = h.alive(func() (err error) {
		packs, err = h.worker.world.packs(ctx, want)
		return err
	})
	if len(packs) > 0 && !h.worker.reach(afterPacks) {
		return nil, errDead
	}
	return packs, err
}

// DeletePacks calls the store.
func (h *handle) DeletePacks(ctx context.Context, packs []versioning.PackRef, durable bool) error {
	if len(packs) > 0 && !h.worker.reach(beforeDelete) {
		return errDead
	}
	return h.alive(func() error { return h.worker.world.store.DeletePacks(ctx, packs, durable) })
}

// DeleteTokens calls the store.
func (h *handle) DeleteTokens(ctx context.Context, lane int, tokens []int64) (n int, err error) {
	err = h.alive(func() (err error) {
		n, err = h.worker.world.store.DeleteTokens(ctx, lane, tokens)
		return err
	})
	return n, err
}

// RefuseMessages calls the store. No message of a history can be refused for good.
func (h *handle) RefuseMessages(ctx context.Context, pack versioning.PackRef, refused []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error) {
	h.worker.world.fail("messages are refused: %+v", refused)
	err = h.alive(func() (err error) {
		left, ok, err = h.worker.world.store.RefuseMessages(ctx, pack, refused, rest)
		return err
	})
	return left, ok, err
}

// TruncateOutbox calls the store.
func (h *handle) TruncateOutbox(ctx context.Context) (int, error) {
	return h.worker.world.store.TruncateOutbox(ctx)
}

// FireTimers calls the store, unless the call is to fail.
func (h *handle) FireTimers(ctx context.Context, limit int) (fired versioning.Fired, err error) {
	w := h.worker
	w.world.calls.Add(1)
	defer w.world.calls.Add(-1)
	err = h.alive(func() (err error) {
		c := w.nextCall()
		if c.fails == slow {
			if err := c.pause(ctx); err != nil {
				return err
			}
		}
		fired, err = w.world.fire(context.WithValue(ctx, callKey{}, c), limit)
		return err
	})
	for _, f := range fired.Outcomes {
		w.world.cover("timer %v", f.Outcome.Verdict)
	}
	if err != nil {
		return versioning.Fired{}, err
	}
	return fired, nil
}

// unpublished says what the outbox or the timers still have to do, or returns "".
func (w *world) unpublished() string {
	if w.script.alarms == 0 {
		return ""
	}
	if timers := w.store.Timers(); len(timers) > 0 {
		return fmt.Sprintf("%d timers are armed, the first is %v", len(timers), timers[0])
	}
	depth, err := w.store.OutboxDepth(context.Background())
	if err != nil {
		panic(err) // its context is not canceled
	}
	if depth.Packs > 0 {
		return fmt.Sprintf("the outbox has %d messages", depth.Messages)
	}
	return ""
}
