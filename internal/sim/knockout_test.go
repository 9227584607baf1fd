//go:build synctests

package sim

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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
	{"publish after the transaction", publishFirst, 100},
	{"delete after the acknowledgment", deleteFirst, 100},
	{"the order of the outbox", withoutOrder, 100},
	{"the state of a timer", withoutArmed, 100},
	{"the time of a timer", tooEarly, 100},
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

// publishFirst publishes the messages of a plan before it is written. It may never be.
func publishFirst(w *world) {
	w.tamper = func(w *world, plan *versioning.Plan) {
		client, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), kgo.Dialer(w.net.DialContext))
		if err != nil {
			panic(err)
		}
		defer client.Close()
		for i := range plan.Moves {
			for _, s := range plan.Moves[i].Steps {
				if s.Outputs == nil {
					continue
				}
				for index, m := range s.Outputs.Messages {
					id := versioning.Emitted{Entity: plan.Moves[i].Entity, Version: s.Version, Index: index}
					r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(id.ID())}}}
					if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
						panic(err)
					}
				}
			}
		}
	}
}

// deleteFirst deletes the packs that a relay reads, before it has published them.
func deleteFirst(w *world) {
	w.packs = func(ctx context.Context, want []versioning.Wanted) ([]versioning.Pack, error) {
		packs, err := w.store.Packs(ctx, want)
		var refs []versioning.PackRef
		for _, p := range packs {
			refs = append(refs, p.PackRef)
		}
		if err == nil {
			err = w.store.DeletePacks(ctx, refs, true)
		}
		return packs, err
	}
}

// withoutArmed makes the event of each due timer happen if it is legal, also in a state that
// the entity has left and entered again.
func withoutArmed(w *world) { w.fire = w.fireBadly(0, func(c *versioning.Change) { c.Armed = 0 }) }

// tooEarly fires timers a second before they are due.
func tooEarly(w *world) { w.fire = w.fireBadly(time.Second, func(*versioning.Change) {}) }

// withoutOrder returns the packs of the outbox in the wrong order.
func withoutOrder(w *world) {
	w.packs = func(ctx context.Context, want []versioning.Wanted) ([]versioning.Pack, error) {
		packs, err := w.store.Packs(ctx, want)
		slices.Reverse(packs)
		return packs, err
	}
}

// fireBadly applies the events of timers, changed, some time before they are due.
func (w *world) fireBadly(before time.Duration, change func(*versioning.Change)) func(context.Context, int) (versioning.Fired, error) {
	return func(ctx context.Context, limit int) (versioning.Fired, error) {
		for _, timer := range w.store.Timers() {
			if timer.Due.After(time.Now().Add(before)) {
				break
			}
			r := versioning.TimerRecord(timer.Entity, timer.Timer)
			change(&r.Changes[0])
			w.store.Prepare(r)
			if _, err := w.store.Apply(ctx, "", []*versioning.Record{r}); err != nil {
				return versioning.Fired{}, err
			}
		}
		return w.store.FireTimers(ctx, limit)
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
