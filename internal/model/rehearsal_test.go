package model_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// TestRehearsal checks that a Rehearsal says of each batch what Store.Apply says of it
// then: the same outcomes, and the same records released. It writes nothing. The database may
// catch up in between, as it does when workers read the same records.
func TestRehearsal(t *testing.T) {
	pool := newOrderPool(t)
	fewer(t, 12)
	rapid.Check(t, func(t *rapid.T) { checkRehearsal(t, pool, rehearsals().Draw(t, "scenario")) })
}

// A rehearsed is a scenario for a rehearsal.
type rehearsed struct {
	scenario

	before   int             // batches that were applied before the rehearsal began
	catchUp  []int           // how many batches the database catches up after each rehearsed batch
	garbage  map[int64]bool  // offsets of records that can't be decoded
	reused   map[int64]int64 // offsets of messages that have the ID of another
	identity versioning.Identity
}

func (r rehearsed) GoString() string {
	return fmt.Sprintf("%#v%d batches before, then catching up %v, undecodable %v, reused IDs %v, identity %v",
		r.scenario, r.before, r.catchUp, r.garbage, r.reused, r.identity)
}

// rehearsals draws scenarios of tables without constraints.
func rehearsals() *rapid.Generator[rehearsed] {
	plain := kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == "plain" })]
	return rapid.Custom(func(t *rapid.T) rehearsed {
		r := rehearsed{scenario: scenarios(plain).Draw(t, "scenario"), garbage: map[int64]bool{}, reused: map[int64]int64{}}
		r.identity = r.scenario.identity
		if r.identity == versioning.ByMessage && rapid.IntRange(0, 4).Draw(t, "by state") == 4 {
			r.identity = versioning.ByState
			for i := range r.computes {
				r.computes[i] = false
			}
		}
		r.before = rapid.IntRange(0, len(r.batches)/2).Draw(t, "before")
		for range r.batches {
			r.catchUp = append(r.catchUp, max(0, rapid.IntRange(-1, 3).Draw(t, "catch up")))
		}
		for i := range r.messages {
			switch rapid.IntRange(0, 19).Draw(t, "odd message") {
			case 19:
				r.garbage[int64(i)] = true
			case 18:
				r.reused[int64(i)] = int64(rapid.IntRange(0, i).Draw(t, "ID of"))
			}
		}
		return r
	})
}

// chain is a machine that proves duplicates by state.
func chain(table string) *statemachine.Machine {
	return statemachine.MustCompile(statemachine.Definition{
		Name: table, Version: 1,
		Transitions: []statemachine.Transition{
			{Event: "make", To: "new"},
			{Event: "set", From: statemachine.In("new"), To: "set"},
			{Event: "open", From: statemachine.In("set"), To: "open"},
			{Event: "back", From: statemachine.In("open"), To: "back"},
			{Event: "close", From: statemachine.In("back"), To: "closed"},
		},
		Terminal: statemachine.In("closed"),
	})
}

func (r rehearsed) postgresTables() (tables []postgres.Table) {
	for i, name := range r.tables {
		machine := machineOf(name, r.computes[i])
		if r.identity == versioning.ByState {
			machine = chain(name)
		}
		tables = append(tables, postgres.Table{Machine: machine, Name: name, Identity: r.identity, MaxParked: r.maxParked})
	}
	return tables
}

// batchesOf returns new records, by batch. No record comes twice in what is rehearsed.
func (r rehearsed) batchesOf() (all [][]*versioning.Record) {
	next := 0
	rehearsed := make(map[int64]bool)
	for n, size := range r.batches {
		var batch []*versioning.Record
		for _, m := range r.messages[next : next+size] {
			if rehearsed[m.offset] {
				continue
			}
			rehearsed[m.offset] = n >= r.before
			rec := m.record()
			if r.garbage[m.offset] {
				rec.Changes, rec.Err = nil, errors.New("garbage")
			}
			if of, ok := r.reused[m.offset]; ok {
				for i := range rec.Changes {
					rec.Changes[i].MessageID = fmt.Sprint("m", of)
				}
			}
			batch = append(batch, rec)
		}
		all = append(all, batch)
		next += size
	}
	return all
}

// A judge is a Store or a Rehearsal.
type judge interface {
	Prepare(*versioning.Record)
	Split(ctx context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error)
	Apply(context.Context, versioning.Server, []*versioning.Record) (versioning.Result, error)
}

// said passes a batch to a judge, and returns what it has said.
func said(ctx context.Context, t *rapid.T, to judge, records []*versioning.Record, connections int) (all []string) {
	for _, r := range records {
		to.Prepare(r)
	}
	lists, index, err := to.Split(ctx, records, connections)
	if err != nil {
		t.Fatal(err)
	}
	all = make([]string, len(records))
	var mu sync.Mutex
	var released []string
	var wg sync.WaitGroup
	errs := make([]error, len(lists))
	for n, list := range lists {
		wg.Go(func() {
			at := index[n]
			for trouble := 0; len(list) > 0 && trouble < 20; {
				result, err := to.Apply(ctx, "", list)
				mu.Lock()
				for i, o := range result.Outcomes {
					all[at[i]] = fmt.Sprintf("%v %v", list[i].Origin, outcome(o))
				}
				for _, s := range result.Released {
					released = append(released, fmt.Sprintf("released %v %v", s.Record.Origin, outcome(s.Outcome)))
				}
				mu.Unlock()
				list, at = list[len(result.Outcomes):], at[len(result.Outcomes):]
				if errs[n] = err; err != nil {
					trouble++
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(released)
	return slices.Concat(all, released)
}

func outcome(o versioning.Outcome) string {
	detail, _, _ := strings.Cut(o.Detail, "\n") // a panic's stack follows
	return fmt.Sprintf("%v %v of %v %v: %v", o.Verdict, o.Reason, o.Entity, o.Event, detail)
}

// everything returns all that the database holds.
func everything(ctx context.Context, t *rapid.T, pool *pgxpool.Pool, tables []string) (all []string) {
	for _, name := range append([]string{"audit", "pawl.transitions", "pawl.parked", "pawl.dead_letters", "pawl.machines", "pawl.tables", "pawl.timers"}, tables...) {
		all = append(all, lines(ctx, t, pool, `SELECT '`+name+` ' || t::text FROM `+name+` AS t ORDER BY 1`)...)
	}
	return all
}

func checkRehearsal(t *rapid.T, pool *pgxpool.Pool, r rehearsed) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	mustExec(ctx, t, pool, `DROP TABLE IF EXISTS thing, other; `+r.ddl+`DELETE FROM pawl.machines;
		DELETE FROM audit; DELETE FROM pawl.transitions; DELETE FROM pawl.parked; DELETE FROM pawl.dead_letters`)
	store, err := postgres.Open(ctx, pool, r.postgresTables()...)
	if err != nil {
		t.Fatal(err)
	}
	real, imagined := r.batchesOf(), r.batchesOf()
	applied := 0
	apply := func() []string {
		applied++
		return said(ctx, t, store, real[applied-1], r.connections)
	}
	for applied < r.before {
		apply()
	}
	rehearsal, err := postgres.OpenRehearsal(ctx, pool, "", r.postgresTables()...)
	if err != nil {
		t.Fatal(err)
	}
	var want, got [][]string
	for n := r.before; n < len(imagined); n++ {
		before := everything(ctx, t, pool, r.tables)
		got = append(got, said(ctx, t, rehearsal, imagined[n], r.connections))
		if diff := cmp.Diff(before, everything(ctx, t, pool, r.tables)); diff != "" {
			t.Fatalf("the rehearsal has written something (-before, +after):\n%s", diff)
		}
		for range r.catchUp[n] {
			if applied <= n {
				want = append(want, apply())
			}
		}
	}
	for applied < len(real) {
		want = append(want, apply())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-applied, +rehearsed):\n%s", diff)
	}
}
