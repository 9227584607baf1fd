package pawltest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pawl-go/pawl/pawltest"
	"github.com/pawl-go/pawl/versioning"
)

// firstTest is the first test of the documentation.
func firstTest(t pawltest.TB) {
	w := pawltest.Of(t, wallet)
	w.Give("w1", "opened", nil)
	w.Give("w1", "filled", Amount{100}).Want(versioning.Applied)
	w.Give("w1", "paid", Amount{30}).Want(versioning.Applied)
	w.Give("w1", "paid", Amount{80}).WantReason(versioning.ReasonRefused)
	w.WantRow("w1", "open", Wallet{Balance: 70})
	w.WantMessages("w1", pawltest.Message{Topic: "payments", Value: Amount{30}})
}

// TestFirstTestIsFast checks that a first test takes less than 5 ms: of several runs, the fastest,
// because the machine may be busy.
func TestFirstTestIsFast(t *testing.T) {
	const limit = 5 * time.Millisecond
	fastest := time.Hour
	for range 20 {
		start := time.Now()
		firstTest(t)
		fastest = min(fastest, time.Since(start))
	}
	if t.Logf("%v", fastest); fastest > limit {
		t.Errorf("a first test takes %v, want less than %v", fastest, limit)
	}
}

// BenchmarkFirstTest measures a first test. A *testing.B has no bubble in which functions are called
// at other times; that adds some microseconds to each call in a test.
func BenchmarkFirstTest(b *testing.B) {
	for b.Loop() {
		firstTest(b)
	}
}

// BenchmarkWalk measures a walk that finds nothing.
func BenchmarkWalk(b *testing.B) {
	walk := walkOf(mistakes{})
	for b.Loop() {
		walk.Run(b)
	}
}

// BenchmarkPostgres measures how long a test waits for its database. Dropping it does not count.
func BenchmarkPostgres(b *testing.B) {
	pawltest.Postgres(b, database) // makes the template
	for b.Loop() {
		run := &borrowed{B: b}
		pawltest.Postgres(run, database)
		b.StopTimer()
		for _, f := range slices.Backward(run.cleanups) {
			f()
		}
		b.StartTimer()
	}
}

// A borrowed is a benchmark whose cleanups are called earlier.
type borrowed struct {
	*testing.B

	cleanups []func()
}

func (b *borrowed) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }
