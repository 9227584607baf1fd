package replay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/internal/banklog"
	"github.com/pawl-go/pawl/internal/embedded"
	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// newServer returns a world with a separate server, in which everything is applied, and a function
// that crashes and restarts it.
func newServer(t *testing.T) (w *world, crash func()) {
	t.Helper()
	server, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	if err := createCases(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	log := synthetic(100)
	machine, err := log.Machine()
	if err != nil {
		t.Fatal(err)
	}
	w = &world{TB: t, pool: pool, topic: testenv.Topic(t, partitions)}
	w.cfg = replay.Config{
		Client: testenv.KafkaOpts(t), Topics: []string{w.topic}, Pool: pool,
		Tables: []postgres.Table{{Machine: machine, Name: "cases"}}, Decode: decode, MaxBatch: 50,
	}
	w.produce(log.Traffic(1, partitions, banklog.Faults{Redelivered: 0.05}))
	w.must(replay.Apply(t.Context(), w.cfg))
	return w, func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestCrashOfTheServer crashes the server in the middle of a verification. The tables of the shadow
// are empty then, which must not be reported as a difference.
func TestCrashOfTheServer(t *testing.T) {
	t.Parallel()
	w, crash := newServer(t)
	for _, share := range []int{10, 50, 100} {
		at := int64(max(1, w.n*share/100))
		var decoded atomic.Int64
		cfg := w.cfg
		cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
			if decoded.Add(1) == at {
				crash()
			}
			return decode(r)
		}
		report := w.must(replay.Verify(t.Context(), cfg))
		if !report.Clean() || report.Verified.Entities != 100 {
			t.Errorf("crashed at record %d of %d: %v", at, w.n, report)
		}
	}
}

// TestCrashWhileRebuilding crashes the server when one of several entities is replaced. The
// shadow is empty then, and nothing may be deleted because of that.
func TestCrashWhileRebuilding(t *testing.T) {
	t.Parallel()
	w, crash := newServer(t)
	want := w.digest()
	w.plant(14)
	var once sync.Once
	cfg := w.cfg
	cfg.Progress = func(p replay.Progress) {
		if p.Step == "rebuild" && p.Done > 0 {
			once.Do(crash)
		}
	}
	if report, err := replay.Rebuild(t.Context(), cfg); err != nil {
		t.Logf("%v; once more", err)
		w.must(replay.Rebuild(t.Context(), cfg))
	} else {
		t.Log(report)
	}
	if got := w.digest(); got != want {
		t.Errorf("what was rebuilt is different")
	}
}

// TestCrashBeforeComparing crashes the server after everything was read.
func TestCrashBeforeComparing(t *testing.T) {
	t.Parallel()
	w, crash := newServer(t)
	var once sync.Once
	config := w.pool.Config()
	config.ConnConfig.Tracer = &statementTracer{on: "SET LOCAL work_mem", do: func() { once.Do(crash) }}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	cfg := w.cfg
	cfg.Pool = pool
	report, err := replay.Verify(t.Context(), cfg)
	if err == nil {
		t.Fatalf("the connection was lost, and nobody noticed: %v", report)
	}
	if report := w.must(replay.Verify(t.Context(), w.cfg)); !report.Clean() || report.Verified.Entities != 100 {
		t.Errorf("%v", report)
	}
}

// A statementTracer calls a function before a statement is sent.
type statementTracer struct {
	on string
	do func()
}

func (s *statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if len(data.SQL) >= len(s.on) && data.SQL[:len(s.on)] == s.on {
		s.do()
	}
	return ctx
}
func (s *statementTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
