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
	histories = flag.Int("histories", 200, "play so many histories")
	firstSeed = flag.Uint64("seed", 1, "begin with this seed")
	logs      = flag.Bool("logs", false, "print what the workers of a failing history log")
)

// TestMain prints the report as the last line, for whoever runs the binary.
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

// A report is what came of all histories.
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

// once plays a seed in a bubble of its own.
func once(t *testing.T, seed uint64, handler slog.Handler, tweaks ...tweak) (wrong []string, met map[string]int) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { wrong, met = play(draw(seed), handler, tweaks...) })
	return wrong, met
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

// again plays a seed that has failed some more times, and tells how often it
// failed: everything follows from the seed, but for the order in which goroutines
// run that are ready at the same moment.
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
	return fmt.Sprintf("it failed in %d of %d replays; -logs prints one that failed\n%s", failed, times, log)
}

// A script follows from its seed alone.
func TestDraw(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		a, b := draw(seed), draw(seed)
		if diff := cmp.Diff(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// The histories meet what they are for: every verdict, every failure of the
// store, a crash at every boundary, and rows that were moved in between.
func TestHistoriesMeet(t *testing.T) {
	t.Parallel()
	want := []string{"duplicate", "applied", "early", "rejected", "diverged", "decided again", "freeze", "restore"}
	for b := range boundaries {
		want = append(want, fmt.Sprintf("crash at boundary %d", b))
	}
	for f := range failures {
		want = append(want, fmt.Sprintf("call with failure %d", f))
	}
	met := make(map[string]int)
	for seed := range uint64(1000) {
		_, more := once(t, seed, slog.DiscardHandler)
		for what, n := range more {
			met[what] += n
		}
		if !slices.ContainsFunc(want, func(what string) bool { return met[what] == 0 }) {
			t.Logf("after %d histories: %v", seed+1, met)
			return
		}
	}
	want = slices.DeleteFunc(want, func(what string) bool { return met[what] > 0 })
	t.Errorf("never met: %v; met: %v", want, slices.Sorted(maps.Keys(met)))
}
