//go:build synctests

package sim

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pawl-go/pawl/internal/model"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

var (
	histories = flag.Int("histories", 200, "number of histories to run")
	firstSeed = flag.Uint64("seed", 1, "first seed")
	logs      = flag.Bool("logs", false, "print the workers' logs of a failing history")
)

// TestMain prints the report as the last line, for scripts that run the binary.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if total.Histories > 0 {
		fmt.Fprintln(os.Stdout, total.String())
	}
	os.Exit(code)
}

// endless is longer than any history takes: usually less than a second.
const endless = 2 * time.Minute

// A report is the result of all histories.
type report struct {
	mu    sync.Mutex
	began time.Time

	Histories    int      `json:"histories"`
	Violations   int      `json:"violations"`
	FailingSeeds []uint64 `json:"failing_seeds"`
	Seconds      float64  `json:"seconds"`
}

var total = &report{FailingSeeds: []uint64{}}

func (r *report) add(seed uint64, wrong []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Histories++
	r.Violations += len(wrong)
	if len(wrong) > 0 {
		r.FailingSeeds = append(r.FailingSeeds, seed)
	}
	r.Seconds = float64(time.Since(r.began).Milliseconds()) / 1000
}

func (r *report) String() string {
	slices.Sort(r.FailingSeeds)
	line, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(line)
}

// once plays a seed in a new bubble. A history that does not end fails with the stacks of
// all goroutines: synctest finds only those whose goroutines all wait forever.
func once(t *testing.T, seed uint64, handler slog.Handler, tweaks ...tweak) (wrong []string, covered map[string]int) {
	t.Helper()
	defer time.AfterFunc(endless, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d has not ended after %v", seed, endless))
	}).Stop()
	synctest.Test(t, func(*testing.T) { wrong, covered = play(draw(seed), handler, tweaks...) })
	return wrong, covered
}

func TestHistories(t *testing.T) {
	t.Parallel()
	total.began = time.Now()
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			wrong, _ := once(t, seed, slog.DiscardHandler)
			total.add(seed, wrong)
			if len(wrong) > 0 {
				t.Errorf("seed %d, to replay: make sim HISTORIES=1 SEED=%d\n%s\n%s", seed, seed, strings.Join(wrong, "\n"), again(t, seed))
			}
		})
	}
}

// TestRareHistories plays histories that were once called wrong and were not. In the first, a
// commit arrives after the next worker has lowered the mark and the server was lost. In the
// others, a backup of a past that another backup has replaced is restored, with timers of the
// same origins. A play shows it in half of the cases.
func TestRareHistories(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{611581, 604963, 681209} {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			for range 4 {
				if wrong, _ := once(t, seed, slog.DiscardHandler); len(wrong) > 0 {
					t.Fatal(strings.Join(wrong, "\n"))
				}
			}
		})
	}
}

// again plays a failed seed several more times and reports how often it failed.
// Only the order of goroutines that are ready at the same moment differs
// between plays.
func again(t *testing.T, seed uint64) string {
	t.Helper()
	const times = 10
	failed, log := 0, ""
	for range times {
		var text strings.Builder
		wrong, _ := once(t, seed, slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if len(wrong) == 0 {
			continue
		}
		if failed++; *logs {
			log = text.String() + strings.Join(wrong, "\n")
		}
	}
	return fmt.Sprintf("failed in %d of %d replays; run with -logs to see the log of one\n%s", failed, times, log)
}

// TestDraw checks that a script depends only on its seed.
func TestDraw(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		a, b := draw(seed), draw(seed)
		if diff := cmp.Diff(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// TestHistoriesCover checks that the histories cover every verdict, every
// failure of the store, a crash at every boundary, and rows that changed
// between reading and writing.
func TestHistoriesCover(t *testing.T) {
	t.Parallel()
	want := []string{
		"duplicate", "applied", "early", "rejected", "diverged", "decided again", "freeze", "restore",
		"transfer accepted", "transfer refused", "transfer waits", "foreign write in between",
		"message", "message repeated", "timer applied", "timer ignored", "timer made a step", "timer replaced",
		fmt.Sprintf("crash at boundary %d", afterPacks), fmt.Sprintf("crash at boundary %d", beforeDelete),
	}
	for b := range boundaries {
		want = append(want, fmt.Sprintf("crash at boundary %d", b))
	}
	for f := range failures {
		want = append(want, fmt.Sprintf("call with failure %d", f))
	}
	covered := make(map[string]int)
	for seed := range uint64(1000) {
		_, more := once(t, seed, slog.DiscardHandler)
		for what, n := range more {
			covered[what] += n
		}
		if !slices.ContainsFunc(want, func(what string) bool { return covered[what] == 0 }) {
			t.Logf("after %d histories: %v", seed+1, covered)
			return
		}
	}
	want = slices.DeleteFunc(want, func(what string) bool { return covered[what] > 0 })
	t.Errorf("not covered: %v; covered: %v", want, slices.Sorted(maps.Keys(covered)))
}

// TestCrashBetweenLists crashes a worker that applies a batch in several lists, after the
// transaction of the first list and before those of the others.
func TestCrashBetweenLists(t *testing.T) {
	t.Parallel()
	const entities = 200
	s := &script{maxParked: 1, messages: make([][]message, 1), definition: model.Definition{Definition: statemachine.Definition{
		Name: "m", Version: 1, Terminal: statemachine.In("closed"),
		Transitions: []statemachine.Transition{
			{Event: "open", To: "opened"},
			{Event: "close", From: statemachine.In("opened"), To: "closed"},
		},
	}}}
	for i := range 2 * entities {
		event := []statemachine.Event{"open", "close"}[i/entities]
		m := model.Message{ID: fmt.Sprint("m", i), Parts: []model.Part{{Key: fmt.Sprint("k", i%entities), Event: event, Expected: -1}}}
		s.messages[0] = append(s.messages[0], message{Message: m})
	}
	// Both join when all messages are there.
	s.lives = []life{
		{joins: time.Second, ends: crashes, where: betweenLists, times: 1, maxBatch: 1000},
		{joins: length / 2, maxBatch: 1000},
	}
	oneByOne := func(w *world) {
		var calls atomic.Int64
		w.apply = func(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
			<-time.After(time.Duration(calls.Add(1)) * time.Millisecond)
			return w.store.Apply(ctx, on, records)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		wrong, covered := play(s, slog.DiscardHandler, oneByOne)
		if len(wrong) > 0 {
			t.Error(strings.Join(wrong, "\n"))
		}
		if covered[fmt.Sprintf("crash at boundary %d", betweenLists)] != 1 || covered["duplicate"] == 0 || covered["applied"] == 0 {
			t.Errorf("covered: %v; want a crash, then duplicates of one list, and the others applied", covered)
		}
		t.Logf("after the crash: %d duplicates, %d applied", covered["duplicate"], covered["applied"])
	})
}
