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

var errNoDocker = errors.New("no Docker engine answers")

// probeDocker says why there is no Docker engine to use, or nil. It looks
// where testcontainers looks: DOCKER_HOST, the usual sockets, and
// ~/.testcontainers.properties.
func probeDocker() error {
	tclog.SetDefault(quiet{})
	answer := make(chan error, 1)
	// The library takes no context here, and an engine may take forever.
	go func() { answer <- askDocker() }()
	select {
	case err := <-answer:
		return err
	case <-time.After(probeTimeout):
		return fmt.Errorf("%w within %v", errNoDocker, probeTimeout)
	}
}

// quiet keeps testcontainers from reporting each step under go test -v.
type quiet struct{}

// Printf prints nothing.
func (quiet) Printf(string, ...any) {}

func askDocker() (err error) {
	defer func() {
		if r := recover(); r != nil { // how testcontainers reports some of its trouble
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

// ensureImages pulls what is not there of an image and of the one by which
// testcontainers removes containers left behind. There is one attempt: left to
// testcontainers, a machine without a network would try for minutes.
func ensureImages(ctx context.Context, image string) error {
	return withDocker(func(p *testcontainers.DockerProvider) error {
		cfg := p.Config().Config
		if cfg.HubImageNamePrefix != "" {
			return nil // the names are other ones; testcontainers knows which
		}
		if err := ensureImage(ctx, p.Client(), image); err != nil || cfg.RyukDisabled {
			return err
		}
		return ensureImage(ctx, p.Client(), testcontainers.ReaperDefaultImage) //nolint:staticcheck // what replaces it is internal
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
