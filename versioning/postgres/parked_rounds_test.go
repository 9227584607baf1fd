package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// door is a machine of which two open doors can be tied together.
func door(name string) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: name, Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "opened", To: "open"},
			{Event: "paused", From: statemachine.In("open"), To: "paused"},
			{Event: "resumed", From: statemachine.In("paused"), To: "open"},
			{Event: "tied", From: statemachine.In("open"), To: "open"},
			{Event: "closed", From: statemachine.In("open"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
}

// A readTracer calls a function before a batch that reads parked records for the second or
// later time in a transaction, or before the second such statement of one batch.
type readTracer struct {
	tracer

	armed  atomic.Bool
	once   sync.Once
	before func()
	read   atomic.Int32
}

func (tr *readTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		if tr.armed.Load() && strings.Contains(q.SQL, "pawl.parked WHERE machine") && tr.read.Add(1) == 2 {
			tr.once.Do(tr.before)
		}
	}
	return tr.tracer.TraceBatchStart(ctx, conn, data)
}

// TestParkedRecordChangesSides moves a parked record about two entities, from one of them to the
// other, between the moments at which a transaction reads what waits for each. A later record
// must not overtake it.
func TestParkedRecordChangesSides(t *testing.T) {
	t.Parallel()
	for _, machines := range [][2]string{{"doors", "doors"}, {"doors", "gates"}} {
		t.Run(strings.Join(machines[:], " "), func(t *testing.T) {
			t.Parallel()
			pool := testenv.Pool(t, migrated)
			var tables []postgres.Table
			for _, name := range []string{"doors", "gates"} {
				mustExec(t, pool, `CREATE TABLE `+name+` (id text PRIMARY KEY, state text NOT NULL, version bigint NOT NULL)`)
				tables = append(tables, postgres.Table{Machine: door(name), Name: name})
			}
			a, b := versioning.Entity{Machine: machines[0], Key: "a"}, versioning.Entity{Machine: machines[1], Key: "b"}
			var l log
			say := func(event statemachine.Event, of ...versioning.Entity) *versioning.Record {
				var changes []versioning.Change
				for _, e := range of {
					changes = append(changes, versioning.Change{Machine: e.Machine, Key: e.Key, Event: event})
				}
				return l.record(changes...)
			}
			other := open(t, pool, tables...)
			for _, event := range []statemachine.Event{"opened", "paused"} {
				wantVerdicts(t, apply(t, other, say(event, a), say(event, b)), "applied", "applied")
			}
			wantVerdicts(t, apply(t, other, say("tied", b, a)), "early not_yet")     // waits for b
			wantVerdicts(t, apply(t, other, say("closed", a, b)), "early not_yet")   // waits for a
			tr := &readTracer{before: func() { apply(t, other, say("resumed", b)) }} // now tied waits for a
			config := pool.Config()
			config.ConnConfig.Tracer = tr
			traced, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(traced.Close)
			store := open(t, traced, tables...)
			tr.armed.Store(true)
			result := apply(t, store, say("resumed", a))
			for range 3 {
				more, err := store.Sweep(t.Context(), versioning.Reading{})
				if err != nil {
					t.Fatal(err)
				}
				result.Released = append(result.Released, more.Released...)
			}
			var released []string
			for _, s := range result.Released {
				released = append(released, fmt.Sprintf("%s %s", s.Record.Changes[0].Event, s.Outcome.Verdict))
			}
			if got := strings.Join(released, ", "); got != "tied applied, closed applied" {
				t.Errorf("released: %s", got)
			}
			wantRows(t, pool, `SELECT concat_ws(' ', entity, event, reason, detail) FROM pawl.dead_letters`)
			if tr.read.Load() < 2 {
				t.Errorf("what is parked was read %d times", tr.read.Load())
			}
		})
	}
}
