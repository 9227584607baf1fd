package testenv

import (
	"errors"
	"fmt"
)

// Environment variables that choose the servers.
const (
	// ModeVariable forces one kind: embedded, containers or servers.
	ModeVariable = "PAWL_TEST_ENV"
	// DatabaseVariable names a PostgreSQL server. Its user must be allowed to
	// create databases.
	DatabaseVariable = "DATABASE_URL"
	// BrokersVariable names Kafka brokers, separated by commas.
	BrokersVariable = "KAFKA_BROKERS"
)

// A mode is a value of PAWL_TEST_ENV.
type mode string

const (
	modeAuto       mode = ""
	modeServers    mode = "servers"
	modeContainers mode = "containers"
	modeEmbedded   mode = "embedded"
)

// A kind is where a server comes from.
type kind string

const (
	kindServer    kind = "server"
	kindContainer kind = "container"
	kindEmbedded  kind = "embedded"
)

var (
	errUnknownMode = errors.New("not one of embedded, containers, servers")
	errNoAddress   = errors.New("the variable is not set")
)

// plan returns the kinds to try, in order. address is the value of variable;
// docker returns an error if there is no Docker engine.
func plan(m mode, variable, address string, docker func() error) ([]kind, error) {
	switch m {
	case modeEmbedded:
		return []kind{kindEmbedded}, nil
	case modeContainers:
		return planContainers(docker)
	case modeServers:
		return planServers(variable, address)
	case modeAuto:
		return planAuto(address, docker), nil
	default:
		return nil, fmt.Errorf("%s=%s: %w", ModeVariable, m, errUnknownMode)
	}
}

func planServers(variable, address string) ([]kind, error) {
	if address == "" {
		return nil, fmt.Errorf("%s=%s needs %s: %w", ModeVariable, modeServers, variable, errNoAddress)
	}
	return []kind{kindServer}, nil
}

func planContainers(docker func() error) ([]kind, error) {
	if err := docker(); err != nil {
		return nil, fmt.Errorf("%s=%s needs a Docker engine: %w", ModeVariable, modeContainers, err)
	}
	return []kind{kindContainer}, nil
}

// planAuto checks for a Docker engine only if no server is named. A named
// server is never replaced by something else.
func planAuto(address string, docker func() error) []kind {
	switch {
	case address != "":
		return []kind{kindServer}
	case docker() == nil:
		return []kind{kindContainer, kindEmbedded}
	default:
		return []kind{kindEmbedded}
	}
}
