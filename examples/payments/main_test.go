package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

// TestMain lets the test binary act as the worker that the demo starts in a separate process
// and kills.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(run())
	}
	testenv.Main(m, testenv.CheckLeaks())
}

// execute runs a command line.
func execute(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}
