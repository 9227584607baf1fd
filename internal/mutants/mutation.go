package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A mutation is one small mistake in the source that a test must notice.
type mutation struct {
	file    string // from the root of the repository
	text    string // occurs exactly once in the file
	mutated string // replaces text
	why     string // what goes wrong in production
	module  string // the directory of the module with the tests; empty: the root
	pkg     string // the package with the tests, as an argument of go test in that directory
	tests   string // the fastest tests that catch the mutation, as a pattern for -run
}

// apply returns the file's source with the mutation. It fails if the mutation is stale,
// which means that its text does not occur exactly once.
func (m mutation) apply(source string) (string, error) {
	if n := strings.Count(source, m.text); n != 1 {
		return "", fmt.Errorf("%s: stale mutation: %q occurs %d times, not once; adapt the mutation to the code", m.file, m.text, n)
	}
	return strings.Replace(source, m.text, m.mutated, 1), nil
}

// read returns the mutated source of the file.
func (m mutation) read() (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", fmt.Errorf("stale mutation: %w", err)
	}
	return m.apply(string(source))
}

// checkStale returns an error for each mutation that no longer fits its file.
func checkStale(mutations []mutation) error {
	var errs []error
	for _, m := range mutations {
		_, err := m.read()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkUnmutated runs the tests of all mutations on the unchanged source. If a test fails
// there, its failure with a mutation proves nothing.
func checkUnmutated(ctx context.Context, mutations []mutation) error {
	type place struct{ module, pkg string }
	tests := make(map[place][]string)
	for _, m := range mutations {
		at := place{m.module, m.pkg}
		if !slices.Contains(tests[at], m.tests) {
			tests[at] = append(tests[at], m.tests)
		}
	}
	for at, tests := range tests {
		failed, err := goTest(ctx, at.module, at.pkg, strings.Join(tests, "|"))
		if err != nil {
			return err
		}
		if len(failed) > 0 {
			return fmt.Errorf("tests of %s fail without a mutation: %s", filepath.Join(at.module, at.pkg), strings.Join(failed, " "))
		}
	}
	return nil
}

// checkCompiles returns an error for each mutation that does not compile. It builds them
// together, and those of each half apart if that fails: two may also be in each other's way.
func checkCompiles(ctx context.Context, dir string, mutations []mutation) error {
	err := compile(ctx, dir, mutations)
	if err == nil || len(mutations) == 1 || ctx.Err() != nil {
		return err
	}
	half := len(mutations) / 2
	return errors.Join(checkCompiles(ctx, dir, mutations[:half]), checkCompiles(ctx, dir, mutations[half:]))
}

// compile builds the packages of mutations, with all of them. It writes to dir.
func compile(ctx context.Context, dir string, mutations []mutation) error {
	mutated := make(map[string]string)
	args := []string{"build", "-o", os.DevNull, "-overlay", ""}
	for _, m := range mutations {
		source, again := mutated[m.file]
		var err error
		if again {
			source, err = m.apply(source)
		} else {
			source, err = m.read()
		}
		if err != nil {
			return err
		}
		mutated[m.file] = source
		if pkg := "./" + filepath.ToSlash(filepath.Dir(m.file)); !slices.Contains(args, pkg) {
			args = append(args, pkg)
		}
	}
	overlay, err := writeOverlay(dir, mutated)
	if err != nil {
		return err
	}
	args[4] = overlay
	if output, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		m := mutations[0]
		return fmt.Errorf("%s: %s: mutation %q does not compile: %w\n%s", m.file, m.why, m.mutated, err, output)
	}
	return nil
}

// writeOverlay writes sources to dir, and returns the file for the flag -overlay that replaces
// files with them.
func writeOverlay(dir string, sources map[string]string) (overlay string, err error) {
	replace := make(map[string]string)
	for file, source := range sources {
		original, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(replace[original], []byte(source), 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// plant runs the tests with the mutation and returns those that fail. It writes to dir.
func (m mutation) plant(ctx context.Context, dir string) (caught []string, err error) {
	source, err := m.read()
	if err != nil {
		return nil, err
	}
	overlay, err := writeOverlay(dir, map[string]string{m.file: source})
	if err != nil {
		return nil, err
	}
	caught, err = goTest(ctx, m.module, m.pkg, m.tests, "-overlay", overlay)
	if err != nil {
		return nil, fmt.Errorf("%s: mutation %q: %w", m.file, m.mutated, err)
	}
	return caught, nil
}
