package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// A partTracer counts the parts of the history that are read, and cancels the statement of one.
type partTracer struct{ n, cancel int }

func (p *partTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if !strings.Contains(q.SQL, "h.ctid >=") {
		return ctx
	}
	if p.n++; p.n != p.cancel {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
func (p *partTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestLookUpOriginsInParts reads a history of several pages one by one. A statement that was
// cancelled is repeated, and no other.
func TestLookUpOriginsInParts(t *testing.T) {
	t.Parallel()
	pool, store := openOrders(t)
	const n = 300
	records := func(key string) (all []*versioning.Record) {
		var l log
		for i := range n {
			all = append(all, l.say(fmt.Sprint(key, i), "placed"))
		}
		return all
	}
	apply(t, store, records("then")...)
	var pages int
	if err := pool.QueryRow(t.Context(), `SELECT pg_relation_size('pawl.transitions') / current_setting('block_size')::int`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if pages < 3 {
		t.Fatalf("the history has %d pages", pages)
	}
	tracer := &partTracer{cancel: 2}
	config := pool.Config()
	config.ConnConfig.Tracer = tracer
	traced, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traced.Close)
	rehearsal, _ := rehearse(t, traced, records("now")...)
	rehearsal.ReadPages(1)
	failed := 0
	for more := true; more; {
		if rehearsal.Redecoded().Records != 0 {
			t.Error("records are added before everything is read")
		}
		if more, err = rehearsal.LookUpOrigins(t.Context()); err != nil {
			failed++
			if !errors.Is(err, context.Canceled) || !more || failed > 1 {
				t.Fatal(more, err)
			}
		}
	}
	if tracer.n != pages+1 || failed != 1 {
		t.Errorf("%d pages were read with %d statements, %d of which failed", pages, tracer.n, failed)
	}
	got := rehearsal.Redecoded()
	if got.Records != n {
		t.Errorf("%d records of %d", got.Records, n)
	}
	for i, s := range got.Samples {
		if s.Record.Origin.Offset != int64(i) || s.Then.Entity.Key != fmt.Sprint("then", i) || s.Now.Entity.Key != fmt.Sprint("now", i) {
			t.Fatalf("sample %d: %v: then %+v, now %+v", i, s.Record.Origin, s.Then, s.Now)
		}
	}
	if more, err := rehearsal.LookUpOrigins(t.Context()); more || err != nil {
		t.Errorf("when all is read: %v, %v", more, err)
	}
}
