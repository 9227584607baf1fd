package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/pawl-go/pawl/internal/testenv"
)

// TestMain lets the test binary act as the programs that tests start in separate processes and
// kill. None of them outlives its parent.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker": // ends with its parent because of --with-parent
			os.Exit(run())
		case "serve":
			go exitWith(os.Stdin)
			os.Exit(run())
		case "haproxy":
			os.Exit(runHAProxy(os.Args[2:]))
		}
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
