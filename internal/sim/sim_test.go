//go:build synctests

package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
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

// once plays a seed in a new bubble.
func once(t *testing.T, seed uint64, handler slog.Handler, tweaks ...tweak) (wrong []string, covered map[string]int) {
	t.Helper()
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
	want := []string{"duplicate", "applied", "early", "rejected", "diverged", "decided again", "freeze", "restore"}
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
