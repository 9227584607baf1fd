package replay_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// A lookup is a tracer that calls each before the history is read for the origins of records.
type lookup struct {
	each func(ctx context.Context) context.Context
}

func (l *lookup) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, ".transitions AS h ON") {
		return l.each(ctx)
	}
	return ctx
}
func (l *lookup) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// onLookup returns the configuration with a pool that calls each before the history is read for the
// origins of records.
func (w *world) onLookup(each func(ctx context.Context) context.Context) replay.Config {
	w.Helper()
	config := w.pool.Config()
	config.ConnConfig.Tracer = &lookup{each}
	pool, err := pgxpool.NewWithConfig(w.Context(), config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(pool.Close)
	cfg := w.cfg
	cfg.Pool = pool
	return cfg
}

// changedOnly makes the decoder return something else for one offset.
func changedOnly(offset int64, other func(c *versioning.Change)) func(r *versioning.Record) ([]versioning.Change, error) {
	return func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		if err == nil && r.Origin.Offset == offset {
			other(&changes[0])
		}
		return changes, err
	}
}

// TestResumeKnowsRedecoded interrupts a dry run once everything is judged. A record is rejected now
// that was applied. That changes no entity, and only the history tells that it was applied.
func TestResumeKnowsRedecoded(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "a")
	w.send(0, "1", "noted", "b")
	w.must(replay.Apply(t.Context(), w.cfg))
	w.cfg.State = filepath.Join(t.TempDir(), "state")
	w.cfg.Decode = changedOnly(1, func(c *versioning.Change) { c.Event, c.MessageID = "nosuch", "new" })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := w.onLookup(func(ctx context.Context) context.Context {
		cancel()
		return ctx
	})
	if _, err := replay.DryRun(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was not interrupted: %v", err)
	}
	report := w.must(replay.DryRun(t.Context(), w.cfg))
	if report.Records != 2 || report.Redecoded != 1 || report.Clean() {
		t.Errorf("%v", report)
	}
}

// TestResumeOfDuplicates interrupts a dry run that has found nothing but duplicates. The next call
// does not read them again.
func TestResumeOfDuplicates(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	for id := range 20 {
		w.send(0, "1", "opened", string(rune('a'+id)))
	}
	w.cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		changes, err := decode(r)
		if r.Origin.Offset > 0 {
			changes[0].Event = "noted"
		}
		return changes, err
	}
	w.must(replay.Apply(t.Context(), w.cfg))
	w.cfg.State, w.cfg.MaxBatch = filepath.Join(t.TempDir(), "state"), 1
	plain := w.cfg.Decode
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := w.cfg
	cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		if r.Origin.Offset == 10 {
			cancel()
		}
		return plain(r)
	}
	if _, err := replay.DryRun(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was not interrupted: %v", err)
	}
	var again atomic.Int64
	cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		again.Add(1)
		return plain(r)
	}
	report := w.must(replay.DryRun(t.Context(), cfg))
	if report.Records != 20 || report.Of(versioning.Duplicate) != 20 || !report.Clean() {
		t.Errorf("%v", report)
	}
	if n := again.Load(); n >= 20 {
		t.Errorf("%d records were read again", n)
	}
}

// TestHistoryIsReadAgain cancels the statement that reads the history, as a standby does if it holds
// up its recovery.
func TestHistoryIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "a")
	w.must(replay.Apply(t.Context(), w.cfg))
	w.cfg.Decode = changedOnly(0, func(c *versioning.Change) { c.Key = "2" })
	n := 0
	cfg := w.onLookup(func(ctx context.Context) context.Context {
		if n++; n > 1 {
			return ctx
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx
	})
	var logs strings.Builder
	cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil))
	report := w.must(replay.DryRun(t.Context(), cfg))
	if report.Redecoded != 1 || len(report.Caveats) != 0 || n != 2 {
		t.Errorf("%d statements: %v", n, report)
	}
	if !strings.Contains(logs.String(), "the history could not be read; trying again") || strings.Contains(logs.String(), "a batch") {
		t.Error(logs.String())
	}
}

// TestHistoryCannotBeRead takes the history away before it is read. The dry run says what the
// records would do, and what it could not prove.
func TestHistoryCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newNotes(t, 1)
	w.send(0, "1", "opened", "a")
	w.send(0, "1", "nosuch", "b")
	w.must(replay.Apply(t.Context(), w.cfg))
	if report := w.must(replay.DryRun(t.Context(), w.cfg)); !report.Clean() || len(report.Caveats) != 0 {
		t.Errorf("%v", report)
	}
	cfg := w.onLookup(func(ctx context.Context) context.Context {
		w.exec(`ALTER TABLE pawl.transitions RENAME TO away`)
		return ctx
	})
	report := w.must(replay.DryRun(t.Context(), cfg))
	if report.Of(versioning.Duplicate) != 1 || report.Of(versioning.Rejected) != 1 || report.Ended.IsZero() || report.Clean() {
		t.Errorf("%v", report)
	}
	if len(report.Caveats) != 1 || report.Caveats[0].Kind != replay.Decoder || !strings.Contains(report.String(), "not proven (decoder): the history could not be read") {
		t.Errorf("%v", report)
	}
}
