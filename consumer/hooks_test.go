package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

type traceKey struct{ of string }

// A tracer gives each batch a trace and logs its calls. The context that it returns is
// canceled.
type tracer struct {
	name   string
	before string // the tracer whose trace has to be there already

	mu     sync.Mutex
	begun  int
	events []string
}

func (tr *tracer) BatchStart(ctx context.Context, b consumer.BatchStart) context.Context {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.begun++
	tr.events = append(tr.events, fmt.Sprint("start ", tr.begun, " before it ", trace(ctx, tr.before), " of ", len(b.Records)))
	ctx, cancel := context.WithCancel(context.WithValue(ctx, traceKey{tr.name}, tr.begun))
	cancel()
	return ctx
}

func (tr *tracer) BatchEnd(ctx context.Context, b consumer.Batch) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, fmt.Sprint("end ", trace(ctx, tr.name), " of ", len(b.Records), " ", ctx.Err()))
}

func (tr *tracer) Trouble(ctx context.Context, err error, _ time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, fmt.Sprint("trouble ", trace(ctx, tr.name), " ", err, " ", ctx.Err()))
}

// trace returns the trace that a tracer has given a context; 0 if none.
func trace(ctx context.Context, of string) int {
	n, _ := ctx.Value(traceKey{of}).(int)
	return n
}

// Each batch has a start and an end. The calls in between get the values of the start's
// context, but not its cancellation.
func TestHooksTraceBatches(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		var calls atomic.Int64
		var mu sync.Mutex
		var applied []string
		store.on(func(ctx context.Context, records []*versioning.Record) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, fmt.Sprint(len(records), " in ", trace(ctx, "a"), " ", trace(ctx, "b"), " ", ctx.Err()))
			if calls.Add(1) == 2 {
				return 1, errDown
			}
			return -1, nil
		})
		b.produce("orders", 0, keys(6)...)
		a, z := &tracer{name: "a"}, &tracer{name: "b", before: "a"}
		cfg := b.config(protocol, store, "orders")
		cfg.MaxBatch = 2
		cfg.Hooks = []consumer.Hook{a, z}
		w := start(t, cfg)
		b.awaitCommitted("orders", 0, 6)
		w.stop()
		if want := []string{"2 in 1 1 <nil>", "2 in 2 2 <nil>", "1 in 2 2 <nil>", "2 in 3 3 <nil>"}; !slices.Equal(applied, want) {
			t.Errorf("the store applied %q, want %q", applied, want)
		}
		for tr, before := range map[*tracer]int{a: 0, z: 1} {
			want := []string{
				fmt.Sprint("start 1 before it ", 1*before, " of 2"), "end 1 of 2 <nil>",
				fmt.Sprint("start 2 before it ", 2*before, " of 2"), "trouble 2 " + errDown.Error() + " <nil>", "end 2 of 2 <nil>",
				fmt.Sprint("start 3 before it ", 3*before, " of 2"), "end 3 of 2 <nil>",
			}
			if !slices.Equal(tr.events, want) {
				t.Errorf("hook %s was called:\n%s\nwant\n%s", tr.name, strings.Join(tr.events, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// A stray hook returns a context that never ends, and keeps how the batch ended.
type stray struct{ ended chan error }

func (stray) BatchStart(context.Context, consumer.BatchStart) context.Context {
	return context.Background()
}

func (h stray) BatchEnd(ctx context.Context, b consumer.Batch) {
	if b.Outcomes[0].Verdict == versioning.Undecided {
		h.ended <- ctx.Err()
	}
}

// BatchEnd is also called for a batch that is given up, and no hook can prolong the batch.
func TestHooksOfAbandonedBatch(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, protocol consumer.Protocol) {
		b := startBroker(t)
		b.topic("orders", 1)
		store := newFake()
		begun := make(chan struct{}, 1)
		store.on(func(ctx context.Context, _ []*versioning.Record) (int, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		b.produce("orders", 0, "k")
		cfg := b.config(protocol, store, "orders")
		cfg.ShutdownGrace = 2 * time.Second
		hook := stray{make(chan error, 1)}
		cfg.Hooks = []consumer.Hook{hook}
		w := start(t, cfg)
		<-begun
		if took := w.stop(); took < cfg.ShutdownGrace || took > 2*cfg.ShutdownGrace {
			t.Errorf("Run took %v to end, want about %v", took, cfg.ShutdownGrace)
		}
		select {
		case err := <-hook.ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the context of the abandoned batch: %v, want %v", err, context.Canceled)
			}
		default:
			t.Error("the abandoned batch has no end")
		}
	})
}
