package replay_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/testenv"
	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
	"github.com/pawl-go/pawl/versioning/postgres"
)

// killCases is the number of cases in the tests that kill processes.
const killCases = 300

// A child is a replay in a separate process: what PAWL_TEST_REPLAY contains.
type child struct {
	Kind     string
	Brokers  []string
	Database string
	Topic    string
	State    string
}

// run runs the replay, and prints a line for each statement that it sends.
func (c child) run() error {
	ctx := context.Background()
	machine, err := synthetic(killCases).Machine()
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(c.Database)
	if err != nil {
		return err
	}
	config.ConnConfig.Tracer = &counter{each: func(int) { fmt.Println("statement") }}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = replays[c.Kind](ctx, replay.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, Topics: []string{c.Topic}, Pool: pool,
		Tables: []postgres.Table{{Machine: machine, Name: "cases"}}, Decode: decode, State: c.State, MaxBatch: 100,
	})
	return err
}

var replays = map[string]func(context.Context, replay.Config) (*replay.Report, error){
	"dry run": replay.DryRun,
	"apply":   replay.Apply,
	"verify":  replay.Verify,
	"rebuild": func(ctx context.Context, c replay.Config) (*replay.Report, error) { return replay.Rebuild(ctx, c) },
}

func runChild(text string) int {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A counter is a tracer that counts statements and batches.
type counter struct {
	n    atomic.Int64
	each func(n int)
}

func (c *counter) count() { c.each(int(c.n.Add(1))) }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.count()
	return ctx
}
func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *counter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.count()
	return ctx
}
func (c *counter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (c *counter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// killed runs a replay in a process, and kills it after it has sent a number of statements. It
// reports whether that was before the end.
func (w *world) killed(kind string, after int) bool {
	w.Helper()
	text, err := json.Marshal(child{kind, testenv.Brokers(w), w.pool.Config().ConnString(), w.topic, w.cfg.State})
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(w.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	lines, n := bufio.NewScanner(out), 0
	for n < after && lines.Scan() {
		n++
	}
	_ = cmd.Process.Kill() // it may have ended
	err = cmd.Wait()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.Exited() {
		w.Fatalf("%s: %v", kind, err)
	}
	return err != nil
}

// statements returns how many statements a replay sends.
func (w *world) statements(kind string) int {
	w.Helper()
	tracer := &counter{each: func(int) {}}
	config := w.pool.Config()
	config.ConnConfig.Tracer = tracer
	pool, err := pgxpool.NewWithConfig(w.Context(), config)
	if err != nil {
		w.Fatal(err)
	}
	defer pool.Close()
	cfg := w.cfg
	cfg.Pool = pool
	w.must(replays[kind](w.Context(), cfg))
	return int(tracer.n.Load())
}

const kills = 4

// kill kills a replay several times at random statements.
func (w *world) kill(kind string, statements int) {
	w.Helper()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	w.Logf("%s: seed %d, about %d statements", kind, seed, statements)
	for range kills {
		after := 1 + random.IntN(statements)
		w.Logf("killed after %d statements, before the end: %v", after, w.killed(kind, after))
	}
}

// TestKilled kills each kind of replay several times, and wants the end to be the same as
// without.
func TestKilled(t *testing.T) {
	t.Parallel()
	log := synthetic(killCases)
	t.Run("dry run", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, log, someFaults)
		w.cfg.MaxBatch = 100
		part := w.cfg
		part.From.Offsets = map[string]map[int32]int64{w.topic: {0: 0, 1: 0}}
		w.must(replay.Apply(t.Context(), part)) // half of the entities
		for range 2 {
			want := w.must(replay.DryRun(t.Context(), w.cfg))
			w.cfg.State = filepath.Join(t.TempDir(), "state")
			w.kill("dry run", 60)
			if diff := cmp.Diff(counts(want), counts(w.must(replay.DryRun(t.Context(), w.cfg)))); diff != "" {
				t.Errorf("(-undisturbed, +killed):\n%s", diff)
			}
			w.must(replay.Apply(t.Context(), w.cfg)) // now everything
		}
	})
	t.Run("apply", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, log, someFaults)
		w.must(replay.Apply(t.Context(), w.cfg))
		want := w.digest()
		w.exec(`TRUNCATE cases, pawl.transitions, pawl.parked, pawl.dead_letters`)
		w.cfg.State, w.cfg.MaxBatch = filepath.Join(t.TempDir(), "state"), 100
		w.kill("apply", 60)
		w.must(replay.Apply(t.Context(), w.cfg))
		if got := w.digest(); got != want {
			t.Errorf("what was applied is different")
		}
		if _, err := os.Stat(w.cfg.State); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the state is still there: %v", err)
		}
	})
	t.Run("verify", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, log, someFaults)
		w.must(replay.Apply(t.Context(), w.cfg))
		w.plant(28)
		want := w.must(replay.Verify(t.Context(), w.cfg)).Verified
		w.cfg.MaxBatch = 100
		w.kill("verify", w.statements("verify"))
		if diff := cmp.Diff(want, w.must(replay.Verify(t.Context(), w.cfg)).Verified); diff != "" {
			t.Errorf("(-undisturbed, +killed):\n%s", diff)
		}
		w.wantNoShadow()
	})
	t.Run("rebuild", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, log, someFaults)
		w.must(replay.Apply(t.Context(), w.cfg))
		want := w.digest()
		w.cfg.MaxBatch = 100
		w.plant(28)
		statements := w.statements("verify")
		w.kill("rebuild", statements+28*15)
		w.must(replay.Rebuild(t.Context(), w.cfg))
		if got := w.digest(); got != want {
			t.Errorf("what was rebuilt is different")
		}
		w.wantNoShadow()
	})
}

// counts returns the numbers of a report by the final verdict. Whether a record that comes too early
// is counted as released depends on where batches end.
func counts(r *replay.Report) map[string]int64 {
	all := map[string]int64{"records": r.Records, "redecoded": r.Redecoded}
	for _, c := range slices.Concat(r.Verdicts, r.Released) {
		if c.Verdict == versioning.Early.String() {
			c.Reason = ""
		}
		all[c.Verdict+" "+string(c.Reason)] += c.Records
	}
	for _, c := range r.Released {
		all[versioning.Early.String()+" "] -= c.Records
	}
	maps.DeleteFunc(all, func(_ string, n int64) bool { return n == 0 })
	return all
}

func (w *world) wantNoShadow() {
	w.Helper()
	if left := w.text(`SELECT count(*)::text FROM pg_namespace WHERE nspname = 'pawl_shadow'`); left != "0" {
		w.Errorf("the shadow is still there")
	}
}

// TestShadowIsMadeAgain ends a verification at each of its statements up to the first batch, and wants
// the next one to be as good as the first.
func TestShadowIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(20), someFaults)
	w.must(replay.Apply(t.Context(), w.cfg))
	want := w.must(replay.Verify(t.Context(), w.cfg)).Verified
	for n, ended := 1, false; !ended; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		config := w.pool.Config()
		config.ConnConfig.Tracer = &counter{each: func(sent int) {
			if sent == n {
				cancel()
			}
		}}
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		cfg := w.cfg
		cfg.Pool, cfg.Connections = pool, 1
		cfg.Begin = func(replay.Report) { ended = true }
		if _, err := replay.Verify(ctx, cfg); err == nil {
			t.Fatalf("it was not interrupted by statement %d", n)
		}
		pool.Close()
		cancel()
		if n%16 == 0 || ended {
			if diff := cmp.Diff(want, w.must(replay.Verify(t.Context(), w.cfg)).Verified); diff != "" {
				t.Errorf("after statement %d (-undisturbed, +interrupted):\n%s", n, diff)
			}
			w.wantNoShadow()
		}
	}
}
