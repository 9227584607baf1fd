package model_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/migrations/migrate"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

var withFunctions = testenv.Template("order", func(ctx context.Context, url string) error {
	if err := migrate.Up(ctx, url); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, functions)
	return errors.Join(err, conn.Close(ctx))
})

// TestOrder checks that batching is not observable: whatever the tables reject,
// compute or record, and wherever batches end, the verdicts, rows, history,
// parked records and dead letters must be the same as with one record per
// transaction, in order. It tests each kind of table alone, and then several
// together. A failing case is shrunk and printed with its tables and messages.
func TestOrder(t *testing.T) {
	pool := newOrderPool(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			fewer(t, 500)
			rapid.Check(t, func(t *rapid.T) { checkOrder(t, pool, scenarios(k).Draw(t, "scenario")) })
		})
	}
	t.Run("several", func(t *testing.T) {
		fewer(t, 20)
		rapid.Check(t, func(t *rapid.T) { checkOrder(t, pool, scenarios().Draw(t, "scenario")) })
	})
}

// newOrderPool returns a pool with one connection per list and a short deadlock
// timeout.
func newOrderPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config := testenv.Pool(t, withFunctions).Config()
	config.MaxConns = 8
	config.ConnConfig.RuntimeParams["deadlock_timeout"] = "20ms"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func checkOrder(t *rapid.T, pool *pgxpool.Pool, s scenario) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	mustExec(ctx, t, pool, `DELETE FROM pawl.machines; DROP TABLE IF EXISTS thing, other; `+s.ddl)
	store := s.open(ctx, t, pool) // reading the catalog takes as long as playing
	got := s.play(ctx, t, pool, store, s.batches, s.connections)
	mustExec(ctx, t, pool, `TRUNCATE `+strings.Join(s.tables, ", ")) // together: they may reference each other
	want := s.play(ctx, t, pool, store, slices.Repeat([]int{1}, len(s.messages)), 1)
	if diff := difference(want, got); diff != "" {
		t.Errorf("(-one by one, +in batches):\n%s", diff)
	}
}

// difference returns the lines that only one side has, or all lines if only
// their order differs.
func difference(want, got map[string][]string) string {
	var b strings.Builder
	for _, section := range slices.Sorted(maps.Keys(want)) {
		w, g := want[section], got[section]
		if slices.Equal(w, g) {
			continue
		}
		if slices.Equal(slices.Sorted(slices.Values(w)), slices.Sorted(slices.Values(g))) {
			fmt.Fprintf(&b, "%s, in a different order:\n  - %s\n  + %s\n", section, strings.Join(w, "\n  - "), strings.Join(g, "\n  + "))
			continue
		}
		fmt.Fprintf(&b, "%s:\n", section)
		for _, line := range w {
			if !slices.Contains(g, line) {
				fmt.Fprintf(&b, "  - %s\n", line)
			}
		}
		for _, line := range g {
			if !slices.Contains(w, line) {
				fmt.Fprintf(&b, "  + %s\n", line)
			}
		}
	}
	return b.String()
}

func mustExec(ctx context.Context, t *rapid.T, pool *pgxpool.Pool, sql string) {
	if _, err := pool.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s scenario) open(ctx context.Context, t *rapid.T, pool *pgxpool.Pool) *postgres.Store {
	var tables []postgres.Table
	for i, name := range s.tables {
		tables = append(tables, postgres.Table{Machine: machineOf(name, s.computes[i]), Name: name, Identity: s.identity, MaxParked: s.maxParked})
	}
	store, err := postgres.Open(ctx, pool, tables...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// play applies the messages to empty tables, in batches of the given sizes that
// are split over a number of connections, and returns the resulting contents.
func (s scenario) play(ctx context.Context, t *rapid.T, pool *pgxpool.Pool, store *postgres.Store, batches []int, connections int) map[string][]string {
	mustExec(ctx, t, pool, `DELETE FROM audit; DELETE FROM pawl.transitions; DELETE FROM pawl.parked; DELETE FROM pawl.dead_letters`)
	p := player{store: store, connections: connections}
	for _, m := range s.messages {
		r := m.record()
		p.store.Prepare(r)
		p.records = append(p.records, r)
	}
	p.fates = make([]versioning.Outcome, len(p.records))
	next := 0
	for _, size := range batches {
		if err := p.batch(ctx, next, size); err != nil {
			t.Fatalf("%d records over %d connections: %v", size, connections, err)
		}
		next += size
	}
	return p.look(ctx, t, pool, s.tables)
}

// A player plays one scenario once.
type player struct {
	store       *postgres.Store
	connections int
	records     []*versioning.Record

	mu    sync.Mutex
	fates []versioning.Outcome // by record
}

// batch applies records as a worker does: the records of a list one after
// another, and different lists at the same time.
func (p *player) batch(ctx context.Context, from, size int) error {
	lists, index, err := p.store.Split(ctx, p.records[from:from+size], p.connections)
	if err != nil {
		return err
	}
	errs := make([]error, len(lists))
	var wg sync.WaitGroup
	for i, list := range lists {
		wg.Go(func() { errs[i] = p.list(ctx, list, from, index[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// list applies records until all are settled.
func (p *player) list(ctx context.Context, list []*versioning.Record, from int, index []int) error {
	for trouble := 0; len(list) > 0; {
		result, err := p.store.Apply(ctx, "", list)
		p.settle(result, from, index)
		list, index = list[len(result.Outcomes):], index[len(result.Outcomes):]
		if err == nil {
			continue
		}
		if trouble++; trouble > 20 || ctx.Err() != nil || versioning.CauseOf(err) != versioning.Infrastructure {
			return err
		}
	}
	return nil
}

// settle stores verdicts. A parked record gets its final one later.
func (p *player) settle(result versioning.Result, from int, index []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range result.Outcomes {
		p.fates[from+index[i]] = o
	}
	for _, s := range result.Released {
		for i, r := range p.records {
			if r.Origin == s.Record.Origin && p.fates[i].Verdict == versioning.Early {
				p.fates[i] = s.Outcome
			}
		}
	}
}

// look returns the observable result. It sorts what has no order, and sorts by
// entity what has an order only within an entity.
func (p *player) look(ctx context.Context, t *rapid.T, pool *pgxpool.Pool, tables []string) map[string][]string {
	found := map[string][]string{}
	for i, o := range p.fates {
		fate := fmt.Sprintf("#%d %s", i, o.Verdict)
		if o.Verdict != versioning.Early { // their reasons may change
			fate += " " + string(o.Reason)
		}
		found["verdicts"] = append(found["verdicts"], fate)
	}
	for _, name := range tables {
		found[name] = lines(ctx, t, pool, `SELECT to_jsonb(t)::text FROM `+name+` AS t ORDER BY id`)
	}
	found["audit"] = lines(ctx, t, pool, `
SELECT concat_ws(' ', name || '/' || id, op, state, 'v' || version, 'x=' || x, 'y=' || y, 'z=' || z) FROM audit ORDER BY name, id, n`)
	found["history"] = lines(ctx, t, pool, `
SELECT format('%s/%s v%s %s %s->%s by %s @%s', machine, entity, version, event, from_state, to_state, message_id, "offset")
FROM pawl.transitions ORDER BY machine, entity, version`)
	found["parked"] = lines(ctx, t, pool, `
SELECT format('%s/%s @%s %s seen at v%s', machine, entity, "offset", reason, seen_version)
FROM pawl.parked ORDER BY machine, entity, seq`)
	found["dead"] = lines(ctx, t, pool, `
SELECT concat_ws(' ', '@' || "offset", verdict, reason, machine || '/' || entity, event,
                 substring(detail FROM 'SQLSTATE (\w+)'), substring(detail FROM 'constraint "(\w+)"'))
FROM pawl.dead_letters ORDER BY "offset"`)
	return found
}

func lines(ctx context.Context, t *rapid.T, pool *pgxpool.Pool, sql string) []string {
	rows, err := pool.Query(ctx, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return append([]string(nil), all...)
}
