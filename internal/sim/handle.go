package sim

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A handle is one worker's access to the store. It fails sometimes.
type handle struct{ worker *worker }

// A call is one call of Apply and the way it fails.
type call struct {
	worker *worker
	fails  failure
	wait   time.Duration
}

// failure is the way a call fails.
type failure uint8

const (
	nothing    failure = iota
	refused            // returns an error and does nothing
	slow               // pauses, at most until its context is done
	slowWithin         // pauses between reading and writing
	late               // pauses like that, and writes although its context is done
	lost               // succeeds, but returns an error
	failures
)

type callKey struct{}

var errDown = errors.New("database is down")

// Prepare calls the store.
func (h *handle) Prepare(r *versioning.Record) { h.worker.world.store.Prepare(r) }

// Split calls the store.
func (h *handle) Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	if h.worker.dead.Load() {
		return nil, nil, errDead
	}
	return h.worker.world.store.Split(ctx, records, n)
}

// Sweep calls the store.
func (h *handle) Sweep(ctx context.Context, read versioning.Reading) (versioning.Swept, error) {
	if h.worker.dead.Load() {
		return versioning.Swept{}, errDead
	}
	swept, err := h.worker.world.store.Sweep(ctx, read)
	if len(swept.Released) > 0 {
		h.worker.world.cover("released by a sweep")
	}
	return swept, err
}

// Marks calls the store.
func (h *handle) Marks(ctx context.Context, group string, topicIDs [][16]byte) ([]versioning.Mark, versioning.Server, error) {
	if h.worker.dead.Load() {
		return nil, "", errDead
	}
	marks, server, err := h.worker.world.store.Marks(ctx, group, topicIDs)
	if err == nil {
		h.worker.on.Store(server)
	}
	return marks, h.worker.world.known(server), err
}

// SetMarks calls the store.
func (h *handle) SetMarks(ctx context.Context, group string, server versioning.Server, marks []versioning.Mark) error {
	if h.worker.dead.Load() {
		return errDead
	}
	w := h.worker.world
	if w.server != "" {
		var err error
		if _, server, err = w.store.Marks(ctx, group, nil); err != nil {
			return err
		}
		marks = slices.Clone(marks)
		for i := range marks {
			marks[i].Last = 0
		}
	}
	err := w.store.SetMarks(ctx, group, server, marks)
	if err == nil {
		w.remember(server, marks)
	}
	if len(marks) > 0 && !h.worker.reach(afterMark) {
		return errDead
	}
	return err
}

// known returns the server as workers see it.
func (w *world) known(server versioning.Server) versioning.Server { return cmp.Or(w.server, server) }

// Apply calls the store, unless the call is to fail.
func (h *handle) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	w := h.worker
	if !w.reach(beforeFold) {
		return versioning.Result{}, errDead
	}
	w.world.calls.Add(1)
	defer w.world.calls.Add(-1)
	c := w.nextCall()
	w.world.cover("call with failure %d", c.fails)
	switch c.fails {
	case refused:
		return versioning.Result{}, errDown
	case slow:
		if err := c.pause(ctx); err != nil {
			return versioning.Result{}, err
		}
	default:
	}
	if w.world.server != "" {
		on = ""
	}
	w.calls.Add(1)
	result, err := w.world.apply(context.WithValue(ctx, callKey{}, c), on, records)
	if w.calls.Add(-1) > 0 && err == nil {
		w.reach(betweenLists)
	}
	if !w.reach(afterTransaction) {
		return versioning.Result{}, errDead
	}
	if err == nil && c.fails == lost {
		return versioning.Result{}, errDown
	}
	return result, err
}

func (w *worker) nextCall() *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &call{worker: w, wait: upTo(w.mood, 20*time.Second)}
	fails, moody := failure(w.mood.IntN(int(failures))), w.mood.Float64() < w.life.moody
	if moody && !w.world.calm.Load() {
		c.fails = fails
	}
	return c
}

// standStill freezes the worker. When it continues, the group may have moved on
// without it, and it does not know.
func (w *worker) standStill() {
	if lasts := time.Duration(w.freeze.Swap(0)); lasts > 0 && !w.world.calm.Load() && !w.dead.Load() {
		w.world.cover("freeze")
		w.line.stall()
		<-time.After(lasts)
		if !w.dead.Load() {
			w.line.repair()
		}
	}
}

// chance draws from the worker's mood: true once in n times.
func (w *worker) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mood.IntN(n) == 0
}

func (c *call) pause(ctx context.Context) error {
	timer := time.NewTimer(c.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// between is called by the store between reading and writing a batch.
func (w *world) between(ctx context.Context, plan *versioning.Plan) error {
	c := ctx.Value(callKey{}).(*call)
	if !c.worker.reach(afterFold) {
		return errDead
	}
	switch c.fails {
	case slowWithin:
		if err := c.pause(ctx); err != nil {
			return err
		}
	case late:
		<-time.After(c.wait)
	default:
	}
	c.worker.standStill()
	if c.worker.dead.Load() {
		return errDead
	}
	w.interfere(c, plan)
	if len(w.moved(plan)) > 0 {
		w.cover("decided again")
	}
	if w.tamper != nil {
		w.tamper(w, plan)
	}
	return nil
}

// moved returns the entities whose rows changed after the plan was made.
func (w *world) moved(plan *versioning.Plan) map[versioning.Entity]bool {
	moved := make(map[versioning.Entity]bool)
	for _, m := range plan.Moves {
		row, exists := w.store.Row(m.Entity)
		if exists == m.Create || row.Version != m.From.Version {
			moved[m.Entity] = true
		}
	}
	return moved
}
