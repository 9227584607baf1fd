package testenv

import (
	"fmt"
	"testing"
)

func TestMain(m *testing.M) { Main(m, CheckLeaks()) }

// A recorder stands in for a test that is expected to fail.
type recorder struct {
	testing.TB
	failures []string
}

// stopped is the panic value that ends a function under test after Fatalf.
type stopped struct{}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

// run calls f until its first Fatalf.
func (r *recorder) run(f func(testing.TB)) {
	defer func() {
		if p := recover(); p != nil && p != any(stopped{}) {
			panic(p)
		}
	}()
	f(r)
}
