package pawltest_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
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

// A planted is a mistake, the walk that must find it, and the test that the walk must print.
type planted struct {
	name   string
	walk   *pawltest.Walk
	says   string
	test   func(pawltest.TB) // a copy of the printed one
	source string            // its name
}

var plantedMistakes = []planted{
	{"an impure function", &impureWalk, `"payment.noted" are not pure`, pastedImpure, "pastedImpure"},
	{"a branch that loses money", &losesWalk, "the entries add up to 40, want 100", pastedLoses, "pastedLoses"},
	{"a state that two orders of delivery reach differently", &ordersWalk, "two orders of delivery lead to different rows", pastedOrders, "pastedOrders"},
	{"a missing NotYet", &notYetWalk, `the order of delivery decides whether "payment.refunded" is applied`, pastedNotYet, "pastedNotYet"},
	{"a duplicate that takes effect", &twiceWalk, "a message has taken effect twice", pastedTwice, "pastedTwice"},
}

var (
	impureWalk = named("impureWalk", walkOf(mistakes{impure: true}))
	losesWalk  = named("losesWalk", walkOf(mistakes{loses: true}))
	ordersWalk = named("ordersWalk", walkOf(mistakes{orders: true}))
	notYetWalk = named("notYetWalk", walkOf(mistakes{noNotYet: true}))
	twiceWalk  = named("twiceWalk", recorded(walkOf(mistakes{twice: true})))
)

func named(name string, w pawltest.Walk) pawltest.Walk {
	w.Name = name
	return w
}

// recorded returns a walk with records of the topic instead of events.
func recorded(w pawltest.Walk) pawltest.Walk {
	w.Data, w.Records = nil, recordsOf
	return w
}

// TestMistakesAreFound checks that the kit finds each mistake within a second, with the shortest
// script: pasted_test.go has them, and no shorter script can show the mistake.
//
// It is not parallel, because it measures time.
func TestMistakesAreFound(t *testing.T) {
	source, err := os.ReadFile("pasted_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range plantedMistakes {
		t.Run(m.name, func(t *testing.T) {
			start := time.Now()
			got := failuresOf(t, func(tb pawltest.TB) { m.walk.Run(tb) })
			took := time.Since(start)
			if len(got) != 1 || !strings.Contains(got[0], m.says) {
				t.Fatalf("the walk says %q, want %q", got, m.says)
			}
			t.Logf("found in %v", took)
			if took > time.Second {
				t.Errorf("the walk took %v, want less than a second", took)
			}
			if test := printedTest(t, got[0], m.source); !strings.Contains(string(source), test) {
				t.Errorf("the walk prints this test, which is not in pasted_test.go:\n%s", test)
			}
		})
	}
}

var printed = regexp.MustCompile(`(?s)\nfunc \w+_shortest\(t \*testing.T\) (\{.*?\n\}\n)`)

// printedTest returns the test that a walk prints, with another head.
func printedTest(t *testing.T, failure, name string) string {
	t.Helper()
	parts := printed.FindStringSubmatch(failure)
	if parts == nil {
		t.Fatalf("no test in %s", failure)
	}
	return "func " + name + "(t pawltest.TB) " + parts[1]
}

// TestPrintedTestsFail runs the tests that walks have printed.
func TestPrintedTestsFail(t *testing.T) {
	t.Parallel()
	for _, m := range plantedMistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if got := failuresOf(t, m.test); len(got) != 1 {
				t.Errorf("the printed test has failures %q, want one", got)
			}
		})
	}
}

// TestCorrectMachinePasses walks the machine without mistakes, with events and with records, with
// sources and without.
func TestCorrectMachinePasses(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		for name, w := range map[string]pawltest.Walk{"events": walkOf(mistakes{}), "records": recorded(walkOf(mistakes{}))} {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				t.Parallel()
				w.Seed = seed
				w.Run(t)
				w.Sources = nil
				w.Run(t)
			})
		}
	}
}

// TestMistakesAreFoundWithAnySeed checks that it needs no luck.
func TestMistakesAreFoundWithAnySeed(t *testing.T) {
	t.Parallel()
	for _, m := range plantedMistakes {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(m.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				w := *m.walk
				w.Seed = 100 + seed
				if got := failuresOf(t, func(tb pawltest.TB) { w.Run(tb) }); len(got) != 1 || !strings.Contains(got[0], m.says) {
					t.Errorf("the walk says %q, want %q", got, m.says)
				}
			})
		}
	}
}
