package pawltest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pawl-go/pawl/pawltest"
)

// A recorder is a test whose failures are wanted.
type recorder struct {
	*testing.T

	failures []string
}

// Unwrap gives the kit the test, in which it calls functions at other times.
func (r *recorder) Unwrap() *testing.T { return r.T }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// fatal is what a recorder panics with.
type fatal struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

func (r *recorder) Context() context.Context { return context.Background() }

// failuresOf returns the failures of a test.
func failuresOf(t *testing.T, test func(pawltest.TB)) []string {
	t.Helper()
	r := &recorder{T: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (fatal{}) {
				panic(p)
			}
		}()
		test(r)
	}()
	return r.failures
}

func TestTry(t *testing.T) {
	for name, m := range map[string]mistakes{"none": {}, "impure": {impure: true}, "loses": {loses: true}, "orders": {orders: true}, "noNotYet": {noNotYet: true}, "twice": {twice: true}} {
		w := walkOf(m)
		if m.twice {
			w.Data, w.Records = nil, recordsOf
		}
		start := time.Now()
		got := failuresOf(t, func(tb pawltest.TB) { w.Run(tb) })
		fmt.Println("=====", name, time.Since(start), len(got))
		for _, f := range got {
			fmt.Println(f)
		}
	}
}
