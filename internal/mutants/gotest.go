package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// goTest runs the tests of a module's package that match a pattern and returns the names of those
// that fail, without their subtests. It returns an error if the package does not compile,
// if no test matches or one is skipped, or if anything other than a test fails. Without the build
// tag synctests, package consumer skips its tests of several workers.
func goTest(ctx context.Context, module, pkg, tests string, flags ...string) (failed []string, err error) {
	args := append([]string{"test", "-json", "-count=1", "-vet=off", "-timeout=3m", "-tags=synctests", "-run", tests}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "PAWL_TEST_ENV=embedded")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // go test passes it on
	cmd.WaitDelay = time.Minute
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, runErr := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if _, isExit := errors.AsType[*exec.ExitError](runErr); runErr != nil && !isExit {
		return nil, runErr
	}
	r, err := readEvents(stdout)
	switch {
	case err != nil:
		return nil, err
	case r.compileError || r.ran == 0 && runErr != nil:
		return nil, fmt.Errorf("%s does not compile or start:\n%s%s", pkg, r.output, stderr.String())
	case r.ran == 0:
		return nil, fmt.Errorf("no test of %s matches %s", pkg, tests)
	case len(r.skipped) > 0:
		return nil, fmt.Errorf("%s skips %s", pkg, strings.Join(r.skipped, " "))
	case runErr != nil && len(r.failed) == 0:
		return nil, fmt.Errorf("%s fails, but no test does:\n%s%s", pkg, r.output, stderr.String())
	}
	return r.failed, nil
}

// results holds what go test -json reports.
type results struct {
	ran          int      // tests, without subtests
	failed       []string // without subtests; if none failed, those that a panic or the timeout interrupted
	skipped      []string // without subtests
	compileError bool
	output       string // not of a test
}

// readEvents reads the output of go test -json.
func readEvents(stdout []byte) (r results, err error) {
	var output strings.Builder
	running := make(map[string]bool)
	for d := json.NewDecoder(bytes.NewReader(stdout)); d.More(); {
		var event struct{ Action, Test, Output string }
		if err := d.Decode(&event); err != nil {
			return r, fmt.Errorf("read the output of go test: %w", err)
		}
		if event.Test == "" {
			output.WriteString(event.Output)
		}
		isTest := event.Test != "" && !strings.Contains(event.Test, "/")
		switch {
		case event.Action == "build-fail":
			r.compileError = true
		case isTest && event.Action == "run":
			r.ran++
			running[event.Test] = true
		case isTest && event.Action == "fail":
			r.failed = append(r.failed, event.Test)
			delete(running, event.Test)
		case isTest && event.Action == "skip":
			r.skipped = append(r.skipped, event.Test)
			delete(running, event.Test)
		case isTest && event.Action == "pass":
			delete(running, event.Test)
		}
	}
	if len(r.failed) == 0 {
		r.failed = slices.Sorted(maps.Keys(running))
	}
	r.output = output.String()
	return r, nil
}
