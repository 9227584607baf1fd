package testenv

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newTestEnvironment returns a separate environment without Docker.
func newTestEnvironment(t *testing.T, variables map[string]string) (*environment, *bytes.Buffer) {
	t.Helper()
	var stderr bytes.Buffer
	e := newEnvironment(func(name string) string { return variables[name] }, &stderr)
	e.docker = func() error { return errNoDocker }
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return e, &stderr
}

var errBroken = errors.New("broken")

func working(detail string, events *[]string) starter {
	return func(context.Context) (*backend, error) {
		return &backend{detail: detail, close: func() error {
			*events = append(*events, "close "+detail)
			return nil
		}}, nil
	}
}

func broken(context.Context) (*backend, error) { return nil, errBroken }

func TestFailedContainerIsReplaced(t *testing.T) {
	t.Parallel()
	var events []string
	e, stderr := newTestEnvironment(t, nil)
	e.docker = func() error { return nil }
	b, err := e.open("kafka", resource{starters: map[kind]starter{
		kindContainer: broken, kindEmbedded: working("small", &events),
	}})
	if err != nil || b.kind != kindEmbedded {
		t.Fatalf("%+v, %v, want the embedded kind", b, err)
	}
	if want := "testenv: using embedded kafka instead: container: broken\n"; stderr.String() != want {
		t.Errorf("stderr says %q, want %q", stderr, want)
	}
}

func TestFailedForcedContainerFails(t *testing.T) {
	t.Parallel()
	var events []string
	e, _ := newTestEnvironment(t, map[string]string{ModeVariable: "containers"})
	e.docker = func() error { return nil }
	_, err := e.open("kafka", resource{starters: map[kind]starter{
		kindContainer: broken, kindEmbedded: working("small", &events),
	}})
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "containers") {
		t.Errorf("%v, want errBroken and the name of the mode", err)
	}
}

func TestEnvironmentClosesInReverse(t *testing.T) {
	t.Parallel()
	var events []string
	e, stderr := newTestEnvironment(t, nil)
	for _, name := range []string{"postgres", "kafka"} {
		if _, err := e.open(name, resource{starters: map[kind]starter{kindEmbedded: working("a "+name, &events)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"close a kafka", "close a postgres"}, events); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
	if want := "testenv: kafka=a kafka postgres=a postgres\n"; stderr.String() != want {
		t.Errorf("stderr says %q, want %q", stderr, want)
	}
}

func TestUnusedEnvironmentPrintsNothing(t *testing.T) {
	t.Parallel()
	e, stderr := newTestEnvironment(t, nil)
	if err := e.close(); err != nil || stderr.Len() > 0 {
		t.Errorf("close of an unused environment: %v, %q", err, stderr)
	}
}

func TestEmbeddedKafkaIsSharedAndReported(t *testing.T) {
	t.Parallel()
	e, _ := newTestEnvironment(t, nil)
	first, err := e.kafka()
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := e.kafka(); second != first {
		t.Error("the process started two clusters")
	}
	if want := "testenv: kafka=kfake (embedded) postgres=unused"; e.summary() != want {
		t.Errorf("summary %q, want %q", e.summary(), want)
	}
}

func TestNamedServersAreUsed(t *testing.T) {
	t.Parallel()
	e, _ := newTestEnvironment(t, map[string]string{
		DatabaseVariable: Postgres(t), BrokersVariable: strings.Join(Brokers(t), ","), ModeVariable: "servers",
	})
	for name, get := range map[string]func() (*backend, error){"postgres": e.postgres, "kafka": e.kafka} {
		if b, err := get(); err != nil || b.kind != kindServer {
			t.Errorf("%s: %+v, %v, want the named server", name, b, err)
		}
	}
}

func TestNamedServersNotRunning(t *testing.T) {
	t.Parallel()
	e, _ := newTestEnvironment(t, map[string]string{
		DatabaseVariable: "postgres://127.0.0.1:1/none", BrokersVariable: "127.0.0.1:1",
	})
	e.patience = 200 * time.Millisecond
	for variable, get := range map[string]func() (*backend, error){DatabaseVariable: e.postgres, BrokersVariable: e.kafka} {
		if _, err := get(); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v, want an error that names %s", err, variable)
		}
	}
}
