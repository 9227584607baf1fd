package replay_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// notes is a machine with an event that may come any number of times.
var notes = statemachine.MustCompile(statemachine.Definition{
	Name: "notes", Version: 1,
	Transitions: []statemachine.Transition{
		{Event: "opened", To: "open"},
		{Event: "noted", From: statemachine.In("open"), To: "open"},
		{Event: "checked", From: statemachine.In("open"), To: "checked"},
		{Event: "noted", From: statemachine.In("checked"), To: "checked"},
		{Event: "closed", From: statemachine.In("checked"), To: "closed"},
	},
	Terminal: statemachine.In("closed"),
})

// newNotes returns a world with an empty topic.
func newNotes(t testing.TB, partitions int32) *world {
	t.Helper()
	w := &world{TB: t, pool: testenv.Pool(t, withCases), topic: testenv.Topic(t, partitions)}
	w.cfg = replay.Config{
		Client: testenv.KafkaOpts(t), Topics: []string{w.topic}, Pool: w.pool,
		Tables: []postgres.Table{{Machine: notes, Name: "cases"}}, Decode: decode,
	}
	return w
}

// A gate is a tracer that stops the transaction of a worker between reading and writing.
type gate struct {
	armed   sync.Once
	reached chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

func (g *gate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (g *gate) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (g *gate) TraceBatchStart(ctx context.Context, _ *pgx.Conn, b pgx.TraceBatchStartData) context.Context {
	for _, q := range b.Batch.QueuedQueries {
		if strings.Contains(q.SQL, "UPDATE") && strings.Contains(q.SQL, "cases") {
			g.armed.Do(func() {
				close(g.reached)
				<-g.open
			})
		}
	}
	return ctx
}
func (g *gate) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (g *gate) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// gated returns a store whose first transaction that writes a row stops at a gate.
func (w *world) gated() (*postgres.Store, *gate) {
	w.Helper()
	g := newGate()
	config := w.pool.Config()
	config.ConnConfig.Tracer = g
	pool, err := pgxpool.NewWithConfig(w.Context(), config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(pool.Close)
	store, err := postgres.Open(w.Context(), pool, w.cfg.Tables...)
	if err != nil {
		w.Fatal(err)
	}
	return store, g
}

// record returns the record at an offset of a partition.
func (w *world) record(partition int32, offset int64) *versioning.Record {
	w.Helper()
	for _, r := range w.read(partition) {
		if r.Origin.Offset == offset {
			return r
		}
	}
	w.Fatalf("there is no record at offset %d", offset)
	return nil
}

// TestRebuildBetweenReadAndWrite replaces the history of an entity, but not its state and
// version, after a worker has read it and before the worker writes: a message that was not in
// the history and is now must not be applied again.
func TestRebuildBetweenReadAndWrite(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "m0")
	w.send(0, "1", "noted", "m1")
	w.send(0, "1", "noted", "m2")
	w.must(replay.Apply(t.Context(), w.cfg))
	before := w.digest()
	w.exec(`UPDATE pawl.transitions SET message_id = 'made up' WHERE version = 3`)
	w.send(0, "1", "noted", "m2") // again
	again := w.record(0, 3)

	store, g := w.gated()
	store.Prepare(again)
	worker := make(chan error, 1)
	go func() {
		_, err := store.Apply(t.Context(), "", []*versioning.Record{again})
		worker <- err
	}()
	<-g.reached
	type result struct {
		report *replay.Report
		err    error
	}
	rebuilt := make(chan result, 1)
	go func() {
		report, err := replay.Rebuild(t.Context(), w.cfg)
		rebuilt <- result{report, err}
	}()
	var done result
	testenv.Eventually(t, 20*time.Second, func() error {
		select {
		case done = <-rebuilt:
			return nil
		default:
		}
		var n int
		if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return context.DeadlineExceeded
		}
		return nil
	})
	close(g.open)
	if err := <-worker; err != nil {
		t.Fatal(err)
	}
	if done.report == nil {
		done = <-rebuilt
	}
	if w.must(done.report, done.err); !done.report.Clean() || done.report.Rebuilt.Entities != 1 {
		t.Errorf("%v", done.report)
	}
	if after := w.digest(); after != before {
		t.Errorf("message m2 was applied %s times", w.text(`SELECT count(*)::text FROM pawl.transitions WHERE message_id = 'm2'`))
	}
}
