package replay_test

import (
	"context"
	"errors"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/replay"
	"github.com/pawl-go/pawl/versioning"
)

// TestShadowOfSomebodyElse checks that a schema that no replay has made is not touched, whatever is in
// it.
func TestShadowOfSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(10), someFaults)
	for name, ddl := range map[string]string{
		"Empty":    "",
		"Function": "CREATE FUNCTION {}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"Replay":   "CREATE TABLE {}.replay (state jsonb); CREATE TABLE {}.mine (i int); INSERT INTO {}.replay VALUES (NULL)",
		"Pawl":     "CREATE TABLE {}.transitions (i int)",
	} {
		quoted := pgx.Identifier{name}.Sanitize()
		w.exec("CREATE SCHEMA " + quoted + "; " + strings.ReplaceAll(ddl, "{}", quoted))
		cfg := w.cfg
		cfg.Shadow = name
		if report, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrShadow) || report != nil {
			t.Errorf("%s: %v, %v", name, report, err)
		}
		objects := `SELECT concat(to_regnamespace($1), (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)), (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace($1)))`
		want := map[string]string{"Empty": "00", "Function": "01", "Replay": "20", "Pawl": "10"}[name]
		if got := w.text(objects, quoted); got != quoted+want {
			t.Errorf("%s was changed: %s", name, got)
		}
	}
	cfg := w.cfg
	cfg.Shadow = "pawl"
	if _, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrConfig) {
		t.Errorf("the framework's schema: %v", err)
	}
}

// TestShadowOfTwo runs a second verification during the first.
func TestShadowOfTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(50), someFaults)
	w.must(replay.Apply(t.Context(), w.cfg))
	var once sync.Once
	cfg := w.cfg
	cfg.MaxBatch = 50
	cfg.Decode = func(r *versioning.Record) ([]versioning.Change, error) {
		once.Do(func() {
			if report, err := replay.Verify(t.Context(), w.cfg); !errors.Is(err, replay.ErrShadow) || report != nil {
				t.Errorf("the second one: %v, %v", report, err)
			}
			other := w.cfg
			other.Shadow = `another "one"`
			if report := w.must(replay.Verify(t.Context(), other)); !report.Clean() {
				t.Errorf("one in another schema: %v", report)
			}
		})
		return decode(r)
	}
	if report := w.must(replay.Verify(t.Context(), cfg)); !report.Clean() {
		t.Errorf("the first one: %v", report)
	}
}

// TestShadowOfAnotherReplay checks that what was kept is not used for something else.
func TestShadowOfAnotherReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(10), someFaults)
	w.must(replay.Apply(t.Context(), w.cfg))
	cfg := w.cfg
	cfg.Keep = true
	w.must(replay.Verify(t.Context(), cfg))
	cfg.From.Offsets = map[string]map[int32]int64{w.topic: {0: 0}}
	if _, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrState) {
		t.Errorf("with other offsets: %v", err)
	}
	cfg = w.cfg
	log := synthetic(10)
	log.Cases[0].Events = append(log.Cases[0].Events, "another event")
	machine, err := log.Machine()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tables = append(cfg.Tables[:0:0], cfg.Tables...)
	cfg.Tables[0].Machine = machine
	if _, err := replay.Verify(t.Context(), cfg); !errors.Is(err, replay.ErrState) {
		t.Errorf("with another machine: %v", err)
	}
	w.must(replay.Verify(t.Context(), w.cfg))
	w.wantNoShadow()
}

// TestLockOfAReplayThatHasEnded checks that a replay waits a moment for the lock of one whose process
// has ended.
func TestLockOfAReplayThatHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, synthetic(10), someFaults)
	key := fnv.New64a()
	_, _ = key.Write([]byte("pawl: the replay in schema pawl_shadow")) // as the replay does
	conn, err := pgx.Connect(t.Context(), w.pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, int64(key.Sum64())); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { closed <- conn.Close(context.Background()) })
	began := time.Now()
	w.must(replay.Verify(t.Context(), w.cfg))
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it has not waited for the lock, and took %v", took)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
