package testenv

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// A MainOption configures [Main].
type MainOption func(*mainConfig)

type mainConfig struct {
	leaks   bool
	ignored []goleak.Option
}

// CheckLeaks fails the run if all tests passed but goroutines are left after
// the environment is closed.
func CheckLeaks(ignored ...goleak.Option) MainOption {
	return func(c *mainConfig) { c.leaks, c.ignored = true, append(c.ignored, ignored...) }
}

// Main runs the tests of a package, closes what they used and exits. Call it
// last in TestMain.
func Main(m *testing.M, opts ...MainOption) {
	os.Exit(run(m, opts...))
}

// run is Main without the exit.
func run(m *testing.M, opts ...MainOption) int {
	var cfg mainConfig
	for _, o := range opts {
		o(&cfg)
	}
	code := m.Run()
	if err := shared.close(); err != nil {
		code = failed(code, fmt.Errorf("close the environment: %w", err))
	}
	if cfg.leaks && code == 0 {
		if err := goleak.Find(cfg.ignored...); err != nil {
			code = failed(code, err)
		}
	}
	return code
}

func failed(code int, err error) int {
	fmt.Fprintln(os.Stderr, "testenv:", err)
	return max(code, 1)
}
