// Mutants checks that the tests notice a mistake in an important line of Pawl. It plants
// the mutations of mutations.go one at a time, runs the tests that must fail, and
// reports which test caught each. The exit status is 1 if a mutation survives, is stale
// or does not compile, or if a test fails without a mutation.
//
// It changes no file: the mutated source reaches the compiler through the flag -overlay
// of go test. The tests run on the embedded servers.
//
//	go run ./internal/mutants                all mutations
//	go run ./internal/mutants -run marks     those whose file or reason matches
//	go run ./internal/mutants -list          only check that none is stale
//	go run ./internal/mutants -build         only check that all compile
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	pattern := flag.String("run", "", "plant only mutations whose file or reason matches this `regexp`")
	list := flag.Bool("list", false, "print the mutations and check that none is stale, without running tests")
	build := flag.Bool("build", false, "like -list, and check that all compile")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, os.Stdout, *pattern, *list, *build)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// run plants the chosen mutations and reports whether every one was caught. If it cannot
// tell, it returns an error. With list or build, it only prints and checks them.
func run(ctx context.Context, out io.Writer, pattern string, list, build bool) (ok bool, err error) {
	chosen, err := choose(mutations, pattern)
	if err != nil {
		return false, err
	}
	if err := checkStale(chosen); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "pawl-mutants-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if list || build {
		for _, m := range chosen {
			fmt.Fprintf(out, "%s: %s\n", m.file, m.why)
		}
		if build {
			err = checkCompiles(ctx, dir, chosen)
		}
		return true, err
	}
	begin := time.Now()
	if err := checkUnmutated(ctx, chosen); err != nil {
		return false, err
	}
	fmt.Fprintf(out, "the tests pass without a mutation (%.0f s)\n", time.Since(begin).Seconds())
	failed := 0
	for i, m := range chosen {
		start := time.Now()
		caught, err := m.plant(ctx, dir)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		verdict := "caught by " + strings.Join(caught, " ")
		switch {
		case err != nil:
			failed++
			verdict = "ERROR: " + err.Error()
		case len(caught) == 0:
			failed++
			verdict = fmt.Sprintf("SURVIVED %s -run '%s': %q became %q", filepath.Join(m.module, m.pkg), m.tests, m.text, m.mutated)
		}
		fmt.Fprintf(out, "%2d/%d %s: %s\n      %s (%.0f s)\n", i+1, len(chosen), m.file, m.why, verdict, time.Since(start).Seconds())
	}
	fmt.Fprintf(out, "%d of %d mutations caught, %.0f s\n", len(chosen)-failed, len(chosen), time.Since(begin).Seconds())
	return failed == 0, nil
}

// choose returns the mutations whose file or reason matches a pattern.
func choose(all []mutation, pattern string) ([]mutation, error) {
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(m mutation) bool {
		return !matches.MatchString(m.file + ": " + m.why)
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no mutation matches %q", pattern)
	}
	return chosen, nil
}
