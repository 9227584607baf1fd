package testenv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// probeTimeout is how long a Docker engine may take to answer.
const probeTimeout = 3 * time.Second

var errNoDocker = errors.New("no Docker engine answered")

// probeDocker returns an error if there is no usable Docker engine. It looks
// where testcontainers looks: DOCKER_HOST, the usual sockets, and
// ~/.testcontainers.properties.
func probeDocker() error {
	tclog.SetDefault(quiet{})
	answer := make(chan error, 1)
	// The library takes no context, and an engine may never answer.
	go func() { answer <- askDocker() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(probeTimeout):
		return fmt.Errorf("%w within %v", errNoDocker, probeTimeout)
	}
}

// quiet stops testcontainers from logging each step under go test -v.
type quiet struct{}

// Printf prints nothing.
func (quiet) Printf(string, ...any) {}

func askDocker() (err error) {
	defer func() {
		if r := recover(); r != nil { // testcontainers panics on some errors
			err = fmt.Errorf("%w: %v", errNoDocker, r)
		}
	}()
	err = withDocker(func(p *testcontainers.DockerProvider) error { return p.Health(context.Background()) })
	if err != nil {
		return fmt.Errorf("%w: %w", errNoDocker, err)
	}
	return nil
}

func withDocker(use func(*testcontainers.DockerProvider) error) error {
	p, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer p.Close()
	return use(p)
}

// ensureImages pulls an image, and the one that testcontainers uses to clean up
// containers, unless they are present. It tries once: on a machine without a
// network, testcontainers itself would retry for minutes.
func ensureImages(ctx context.Context, image string) error {
	return withDocker(func(p *testcontainers.DockerProvider) error {
		cfg := p.Config().Config
		if cfg.HubImageNamePrefix != "" {
			return nil // the image names differ; only testcontainers knows them
		}
		if err := ensureImage(ctx, p.Client(), image); err != nil || cfg.RyukDisabled {
			return err
		}
		return ensureImage(ctx, p.Client(), testcontainers.ReaperDefaultImage) //nolint:staticcheck // its replacement is internal
	})
}

func ensureImage(ctx context.Context, docker client.APIClient, image string) error {
	_, err := docker.ImageInspect(ctx, image)
	if !errdefs.IsNotFound(err) {
		return err
	}
	pull, err := docker.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return fmt.Errorf("pull the image %s: %w", image, err)
	}
	if err := pull.Wait(ctx); err != nil {
		return fmt.Errorf("pull the image %s: %w", image, err)
	}
	return nil
}
