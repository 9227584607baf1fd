package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// setupTimeout limits each step of the setup, including pulling an image or
// downloading a server.
const setupTimeout = 5 * time.Minute

// shared is the environment of this process. It is global because all tests
// share the servers and testing.M cannot pass a value to them.
var shared = newEnvironment(os.Getenv, os.Stderr)

// An environment holds the servers shared by the tests of a process. It starts
// each on first use.
type environment struct {
	getenv   func(string) string
	stderr   io.Writer
	patience time.Duration // how long a named server may take to answer

	docker   func() error
	postgres func() (*backend, error)
	kafka    func() (*backend, error)

	mu      sync.Mutex // guards the fields below
	chosen  map[string]*backend
	closers []func() error
}

func newEnvironment(getenv func(string) string, stderr io.Writer) *environment {
	e := &environment{getenv: getenv, stderr: stderr, patience: 15 * time.Second, chosen: map[string]*backend{}}
	e.docker = sync.OnceValue(probeDocker)
	e.postgres = sync.OnceValues(func() (*backend, error) { return e.open("postgres", e.postgresResource()) })
	e.kafka = sync.OnceValues(func() (*backend, error) { return e.open("kafka", e.kafkaResource()) })
	return e
}

// open starts a resource and registers it to be closed.
func (e *environment) open(name string, r resource) (*backend, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	kinds, err := plan(mode(e.getenv(ModeVariable)), r.variable, e.getenv(r.variable), e.docker)
	if err != nil {
		return nil, err
	}
	b, err := r.acquire(ctx, kinds)
	if b == nil {
		return nil, fmt.Errorf("%w (%s=%q)", err, ModeVariable, e.getenv(ModeVariable))
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "testenv: using %[2]s %[1]s instead: %[3]s\n", name, b.kind, oneLine(err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.chosen[name] = b
	e.closers = append(e.closers, b.close)
	return b, nil
}

// onClose registers f to be called before the servers are closed.
func (e *environment) onClose(f func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closers = append(e.closers, f)
}

// close prints the summary and closes everything, last opened first.
func (e *environment) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.chosen) > 0 {
		fmt.Fprintln(e.stderr, e.summary())
	}
	var errs []error
	for len(e.closers) > 0 {
		last := len(e.closers) - 1
		errs = append(errs, e.closers[last]())
		e.closers = e.closers[:last]
	}
	return errors.Join(errs...)
}

func (e *environment) summary() string {
	return fmt.Sprintf("testenv: kafka=%s postgres=%s", e.chosen["kafka"], e.chosen["postgres"])
}

// String returns the backend's kind and where it comes from.
func (b *backend) String() string {
	if b == nil {
		return "unused"
	}
	return b.detail
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
