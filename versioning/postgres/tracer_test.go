package postgres_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// A tracer counts what a pool sends, and can run a function before it writes.
type tracer struct {
	pool *pgxpool.Pool // the traced pool

	mu                sync.Mutex
	statements, trips int
	elements          int   // of all arrays among the parameters
	atOnce            []any // of each statement that reads hashes: whether it reads messages without looking at them
	beforeWrite       func(context.Context, *pgx.Conn)
}

func (tr *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	tr.count(1)
	return ctx
}

func (tr *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (tr *tracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	tr.count(len(data.Batch.QueuedQueries))
	tr.mu.Lock()
	for _, q := range data.Batch.QueuedQueries {
		if strings.Contains(q.SQL, "known.hashes") {
			tr.atOnce = append(tr.atOnce, q.Arguments[len(q.Arguments)-1])
		}
		for _, arg := range q.Arguments {
			if v := reflect.ValueOf(arg); v.Kind() == reflect.Slice {
				tr.elements += v.Len()
			}
		}
	}
	hook := tr.beforeWrite
	tr.mu.Unlock()
	if hook != nil && slices.ContainsFunc(data.Batch.QueuedQueries, writes) {
		hook(ctx, conn)
	}
	return ctx
}

func (tr *tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (tr *tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func writes(q *pgx.QueuedQuery) bool {
	sql := strings.TrimSpace(q.SQL)
	return strings.HasPrefix(sql, "UPDATE") || strings.HasPrefix(sql, "INSERT") || strings.HasPrefix(sql, "DELETE") ||
		strings.HasPrefix(sql, "WITH taken") || strings.Contains(sql, ".guarded FROM")
}

func (tr *tracer) count(statements int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.statements += statements
	tr.trips++
}

// counted returns what do has sent.
func (tr *tracer) counted(do func()) (statements, trips int) {
	tr.mu.Lock()
	s, n := tr.statements, tr.trips
	tr.mu.Unlock()
	do()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.statements - s, tr.trips - n
}

// before runs f before each write. nil means nothing.
func (tr *tracer) before(f func(context.Context, *pgx.Conn)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.beforeWrite = f
}

// first returns a hook that runs f before the first n writes only.
func first(n int, f func()) func(context.Context, *pgx.Conn) {
	return func(context.Context, *pgx.Conn) {
		if n--; n >= 0 {
			f()
		}
	}
}

// traced returns another store on the same tables, and its tracer.
func traced(t *testing.T, pool *pgxpool.Pool, change ...func(*pgxpool.Config)) (*postgres.Store, *tracer) {
	t.Helper()
	return tracedTable(t, pool, postgres.Table{Machine: order, Name: "orders"}, change...)
}

// tracedTable is traced for any table.
func tracedTable(t *testing.T, pool *pgxpool.Pool, table postgres.Table, change ...func(*pgxpool.Config)) (*postgres.Store, *tracer) {
	t.Helper()
	tr := &tracer{}
	config := pool.Config()
	config.ConnConfig.Tracer = tr
	for _, c := range change {
		c(config)
	}
	other, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	tr.pool = other
	return open(t, other, table), tr
}

// TestStatements checks that the number of statements and of round trips does not
// depend on the number of records.
func TestStatements(t *testing.T) {
	t.Parallel()
	pool, _ := openOrders(t)
	store, tr := traced(t, pool)
	var l log
	all := func(n, from int, event string) []*versioning.Record {
		records := make([]*versioning.Record, n)
		for i := range records {
			records[i] = l.set(key(from+i), statemachine.Event(event), versioning.Columns{"amount": i % 100})
		}
		prepare(store, records)
		return records
	}
	apply(t, store, l.say("first", "placed")) // it has nothing to recall
	type cost struct{ statements, trips int }
	want := make(map[string]cost)
	from := 0
	for _, n := range []int{1, 10, 1000} {
		from += 5000
		created := all(n, from, "placed")
		for _, c := range []struct {
			name    string
			records []*versioning.Record
		}{
			{"new", created},
			{"replayed", created},
			{"moved", all(n, from, "captured")},
			{"parked", all(n, from+2000, "captured")},
			{"freed", all(n, from+2000, "placed")},
			{"dead", all(n, from, "nosuch")},
			{"mixed", slices.Concat(
				all(n, from, "shipped"), all(n, from+3000, "captured"), all(n, from+4000, "placed"),
				all(n, from, "placed"), all(n, from, "nosuch"), created,
			)},
		} {
			var got cost
			got.statements, got.trips = tr.counted(func() {
				if _, err := store.Apply(t.Context(), "", c.records); err != nil {
					t.Fatal(err)
				}
			})
			if n == 1 {
				want[c.name] = got
				t.Logf("%s: %d statements in %d round trips", c.name, got.statements, got.trips)
			} else if got != want[c.name] {
				t.Errorf("%s, %d records: %+v, want %+v as for 1 record", c.name, n, got, want[c.name])
			}
			trips := 2
			if c.name == "new" || c.name == "moved" { // recalled
				trips = 1
			}
			if got.trips != trips {
				t.Errorf("%s takes %d round trips, not %d", c.name, got.trips, trips)
			}
		}
	}
}

// execModes are the modes in which a pool may run statements.
var execModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// TestExecModes checks that a store works in every mode of its pool.
func TestExecModes(t *testing.T) { //nolint:tparallel // the cases share a database
	t.Parallel()
	pool, _ := openOrders(t)
	var l log
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			mustExec(t, pool, `TRUNCATE orders, pawl.transitions, pawl.parked, pawl.dead_letters`)
			store, _ := traced(t, pool, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = mode })
			records := []*versioning.Record{
				l.set("it's", "placed", versioning.Columns{"note": `q"'\,{}`, "amount": 1.5}),
				l.say("b", "shipped"), l.say("b", "placed"), l.say("it's", "captured"), l.say("it's", "nosuch"),
				l.set("c", "placed", versioning.Columns{"note": nil}),
			}
			records[1].Value, records[1].Key, records[1].Headers = []byte{0, 1}, nil, []versioning.Header{{Key: "h"}}
			records[4].Value, records[4].Key = []byte{0, 255}, []byte{}
			wantVerdicts(t, apply(t, store, records...), "applied", "early not_yet", "applied", "applied", "rejected unknown_event", "applied")
			wantVerdicts(t, apply(t, store, records...), "duplicate", "early not_yet", "duplicate", "duplicate", "rejected unknown_event", "duplicate")
			wantVerdicts(t, apply(t, store, l.say("b", "captured")), "applied")
			wantRows(t, pool, `SELECT t::text FROM orders AS t ORDER BY id`,
				`(b,shipped,3,,,)`, `(c,pending,1,,,)`, `(it's,paid,2,"q""'\\,{}",1.5,)`)
			if _, err := store.Sweep(t.Context(), versioning.Reading{}); err != nil {
				t.Errorf("Sweep: %v", err)
			}
		})
	}
}
