package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"

	"github.com/pawl-go/pawl/internal/testdb"
)

const (
	// readyTimeout is how long a server in a container may take to answer, not
	// counting the image pull.
	readyTimeout = 2 * time.Minute

	// readyEvery is the time between attempts.
	readyEvery = 50 * time.Millisecond

	// logTail is the number of bytes of the container's log that an error
	// includes.
	logTail = 2 << 10
)

var errExited = errors.New("the container exited")

// awaitReady waits until ping succeeds or the container exits.
func awaitReady(ctx context.Context, c testcontainers.Container, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err := testdb.Poll(ctx, readyEvery, func() error {
		err := ping(ctx)
		if err == nil {
			return nil
		}
		if ended := running(ctx, c); ended != nil {
			giveUp(ended)
		}
		return err
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w; end of its log: %s", context.Cause(ctx), err, containerLog(c))
}

// running returns an error if the container is not running.
func running(ctx context.Context, c testcontainers.Container) error {
	state, err := c.State(ctx)
	if err != nil {
		return err
	}
	if !state.Running {
		return fmt.Errorf("%w with status %d %s", errExited, state.ExitCode, state.Error)
	}
	return nil
}

func containerLog(c testcontainers.Container) string {
	logs, err := c.Logs(context.Background())
	if err != nil {
		return err.Error()
	}
	defer logs.Close()
	text, err := io.ReadAll(logs)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-logTail):]))
}

// terminate returns a function that removes a container and its volumes.
func terminate(c testcontainers.Container) func() error {
	return func() error {
		return testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0))
	}
}
