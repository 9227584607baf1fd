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
	// portTries is how many free ports to try: another program may take the
	// port between the check and the server's bind.
	portTries = 5

	// readyEvery is the time between attempts to connect.
	readyEvery = 5 * time.Millisecond
)

var errEnded = errors.New("the server ended while it was starting")

// startAnywhere starts the server on a free port, and retries on another port
// if that was taken meanwhile.
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
			break // the port was not the cause
		}
	}
	return errors.Join(errs...)
}

// startOn starts the server on the port and waits until it accepts connections.
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

// awaitReady waits until the superuser can log in. The password is unique, so
// another server on the port is not mistaken for this one.
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
			return fmt.Errorf("%w before the server accepted connections: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// ping connects once and saves the server's version.
func (s *Postgres) ping(ctx context.Context) error {
	conn, err := pgconn.Connect(ctx, s.url())
	if err != nil {
		return err
	}
	s.version = conn.ParameterStatus("server_version")
	return conn.Close(ctx)
}

// freePort returns a port that was free a moment ago.
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
