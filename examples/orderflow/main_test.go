package main

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

// TestMain lets the test binary act as the worker that the demo starts in a
// separate process and kills.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(run())
	}
	testenv.Main(m, testenv.CheckLeaks())
}

// execute runs a command line.
func execute(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return executeUntil(t.Context(), args...)
}

// executeUntil runs a command line and cancels it when ctx is done, as a signal
// would.
func executeUntil(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}
