//go:build synctests

package sim

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pawl-go/pawl/versioning"
)

// A knockout takes out what a promise rests on.
type knockout struct {
	name   string
	tweak  tweak
	within int // seeds, some history must show it
}

var knockouts = []knockout{
	{"the version guard", withoutGuard, 300},
	{"the explanation of zero rows", withoutExplanation, 1500},
	{"commit after the transaction", commitFirst, 10},
	{"the look at the server", withoutServer, 100},
}

// withoutGuard writes each plan wherever the rows are by now: the guards are told
// what they will find.
func withoutGuard(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		for i := range plan.Moves {
			m := &plan.Moves[i]
			row, exists := w.store.Row(m.Entity)
			m.Create, m.From = !exists, versioning.Row{State: row.State, Version: row.Version}
		}
	}
}

// withoutExplanation takes a guarded write that finds no row for one that has been
// made already, and goes on.
func withoutExplanation(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		moved := w.moved(plan)
		plan.Moves = slices.DeleteFunc(plan.Moves, func(m versioning.Move) bool { return moved[m.Entity] })
	}
}

// commitFirst gives the consumer its verdicts, and writes a moment later.
func commitFirst(w *world) {
	w.apply = func(ctx context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
		ctx = context.WithoutCancel(ctx)
		w.calls.Add(1)
		go func() {
			defer w.calls.Add(-1)
			<-time.After(time.Second)
			_, _ = w.store.Apply(ctx, "", records)
		}()
		outcomes := make([]versioning.Outcome, len(records))
		for i := range outcomes {
			outcomes[i].Verdict = versioning.Applied
		}
		return versioning.Result{Outcomes: outcomes}, nil
	}
}

// withoutServer has all servers look alike.
func withoutServer(w *world) { w.server = "the one" }

// Whatever a promise rests on, the histories show when it is missing.
func TestKnockouts(t *testing.T) {
	t.Parallel()
	for _, k := range knockouts {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(k.within) {
				if wrong, _ := once(t, seed+1, slog.DiscardHandler, k.tweak); len(wrong) > 0 {
					t.Logf("without %s, seed %d is the first to fail: %s", k.name, seed+1, wrong[0])
					return
				}
			}
			t.Errorf("without %s, no violation within %d seeds", k.name, k.within)
		})
	}
}
