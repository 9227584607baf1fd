package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func isHook(h Hook) bool {
	switch h.(type) {
	case BatchStartHook, BatchEndHook, TroubleHook, CommitHook, MaintainHook:
		return true
	}
	return false
}

// hooks calls the hooks of a worker. Its methods return an error if a hook panics.
type hooks []Hook

func (hooks hooks) batchStart(ctx context.Context, b BatchStart) (context.Context, error) {
	for i, hook := range hooks {
		h, ok := hook.(BatchStartHook)
		if !ok {
			continue
		}
		var next context.Context
		err := protectHook(i, "BatchStart", func() { next = h.BatchStart(ctx, b) }) //nolint:fatcontext // it is the hook's
		if err != nil {
			return ctx, err
		}
		if next != nil {
			ctx = batchContext{ctx, next} //nolint:fatcontext // one for each hook
		}
	}
	return ctx, nil
}

// A batchContext has the values of a hook's context, and the cancellation and deadline of
// the worker's. If a hook could cancel a batch, the batch would be skipped: the worker
// would go on to the next one and commit its offsets.
type batchContext struct {
	context.Context

	values context.Context
}

// Value implements [context.Context].
func (c batchContext) Value(key any) any { return c.values.Value(key) }

func (hooks hooks) batchEnd(ctx context.Context, b Batch) error {
	for i, hook := range hooks {
		if h, ok := hook.(BatchEndHook); ok {
			if err := protectHook(i, "BatchEnd", func() { h.BatchEnd(ctx, b) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (hooks hooks) trouble(ctx context.Context, trouble error, retryIn time.Duration) error {
	for i, hook := range hooks {
		if h, ok := hook.(TroubleHook); ok {
			if err := protectHook(i, "Trouble", func() { h.Trouble(ctx, trouble, retryIn) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func protectHook(i int, method string, call func()) error {
	return protect(fmt.Sprintf("Hooks[%d].%s", i, method), call)
}

func (hooks hooks) commit(ctx context.Context, c Commit) error {
	for i, hook := range hooks {
		if h, ok := hook.(CommitHook); ok {
			if err := protectHook(i, "Commit", func() { h.Commit(ctx, c) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (hooks hooks) maintained(ctx context.Context, m Maintenance) error {
	for i, hook := range hooks {
		if h, ok := hook.(MaintainHook); ok {
			if err := protectHook(i, "Maintained", func() { h.Maintained(ctx, m) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// maintained calls the hooks after maintenance that began at a time, unless there was nothing to
// do or the worker stops. If a hook panics, the run ends.
func (m *maintainer) maintained(ctx context.Context, began time.Time, done Maintenance) {
	stops := done.Err != nil && errors.Is(ctx.Err(), context.Canceled)
	if stops {
		done.Err = nil
	}
	if len(done.Settled) == 0 && done.Expired == 0 && done.Err == nil {
		return
	}
	done.Took = time.Since(began)
	if err := hooks(m.cfg.Hooks).maintained(ctx, done); err != nil {
		m.end(m.cantContinue(err))
	}
}
