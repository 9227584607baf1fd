//go:build synctests

package sim

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/versioningtest"
)

// A knockout disables a mechanism that a promise depends on.
type knockout struct {
	name   string
	tweak  tweak
	within int // some history must fail within this many seeds
}

var knockouts = []knockout{
	{"the version guard", withoutGuard, 300},
	{"the explanation of zero rows", withoutExplanation, 1500},
	{"commit after the transaction", commitFirst, 10},
	{"the check of the server", withoutServer, 100},
	{"the guard against other writers", withoutWritten, 100},
	{"the undoing of data", withoutUndo, 100},
}

// withoutGuard always writes the plan: it updates the guards to the current
// rows.
func withoutGuard(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		for i := range plan.Moves {
			m := &plan.Moves[i]
			row, exists := w.store.Row(m.Entity)
			m.Create, m.From.State, m.From.Version = !exists, row.State, row.Version
		}
	}
}

// withoutExplanation treats a guarded write that matches no row as already
// done, and continues.
func withoutExplanation(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		moved := w.moved(plan)
		plan.Moves = slices.DeleteFunc(plan.Moves, func(m versioning.Move) bool { return moved[m.Entity] })
	}
}

// commitFirst returns the verdicts to the consumer before it writes.
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

// withoutServer makes all servers look the same.
func withoutServer(w *world) { w.server = "the one" }

// withoutWritten forgets which write of a row the plan was computed from, so that only the
// version guards the row.
func withoutWritten(w *world) {
	w.tamper = func(_ *world, plan *versioning.Plan) {
		for i := range plan.Moves {
			plan.Moves[i].From.Data = nil
		}
	}
}

// withoutUndo leaves in the row what a refused transfer has already credited.
func withoutUndo(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		for _, s := range plan.Dead {
			if s.Outcome.Reason != versioning.ReasonRefused || s.Record.Changes[0].Event != credited {
				continue
			}
			w.store.Update(s.Record.Entity(0), func(row *versioningtest.Row) {
				row.Columns["balance"] = row.Columns["balance"].(int64) + s.Record.Changes[0].Data.(movement).Amount
			})
		}
	}
}

// TestKnockouts checks that the histories detect each disabled mechanism.
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
			t.Errorf("without %s: no violation in %d seeds", k.name, k.within)
		})
	}
}
