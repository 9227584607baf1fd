package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// portTries is how often a free port is looked for: another program may
	// take it between the look and the server's own claim.
	portTries = 5

	// readyEvery is how long to wait between two tries to connect.
	readyEvery = 5 * time.Millisecond
)

var errEnded = errors.New("the server ended while it was starting")

// startAnywhere starts the server on a free port, and on another where that
// was taken in the meantime.
func (s *Postgres) startAnywhere(ctx context.Context) error {
	var errs []error
	for range portTries {
		port, err := freePort()
		if err != nil {
			return err
		}
		err = s.startOn(ctx, port)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || portIsFree(port) {
			break // the port was not the reason
		}
	}
	return errors.Join(errs...)
}

// startOn starts the server on the port and waits until it takes connections.
func (s *Postgres) startOn(ctx context.Context, port int) error {
	program := filepath.Join(s.binDir, "postgres")
	p, err := s.launch(program, s.cfg.serverArgs(s.dir.data(), port)...)
	if err != nil {
		return err
	}
	s.port, s.server = port, p
	if err := s.awaitReady(ctx); err != nil {
		p.kill()
		return &ServerError{Program: program, Log: tail(s.dir.log()), Err: err}
	}
	return nil
}

// awaitReady waits until the server lets the superuser in. The password is
// its own, so no other server on the port is taken for it.
func (s *Postgres) awaitReady(ctx context.Context) error {
	alive, cancel := s.server.while(ctx)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := s.ping(alive)
		if err == nil {
			return nil
		}
		select {
		case <-s.server.done:
			return fmt.Errorf("%w: %w", errEnded, s.server.err)
		case <-ctx.Done():
			return fmt.Errorf("%w before the server took connections: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// ping connects once and notes which version answers.
func (s *Postgres) ping(ctx context.Context) error {
	conn, err := pgconn.Connect(ctx, s.url())
	if err != nil {
		return err
	}
	s.version = conn.ParameterStatus("server_version")
	return conn.Close(ctx)
}

// freePort returns a port that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func portIsFree(port int) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	return l.Close() == nil
}
