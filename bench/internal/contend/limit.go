package contend

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// runLimit sends the exact bytes that a worker sent for these records, from
// memory and over the same number of connections. It measures PostgreSQL's own
// work and the round trips. Unlike the worker's connections, these do not wait
// for each other at the end of a batch.
func runLimit(ctx context.Context, job Job, m *meter) error {
	var conns [connections]net.Conn
	var trips [connections][][]byte
	for i := range connections {
		var err error
		if trips[i], err = readTrips(recording(job.Recording, i)); err != nil {
			return err
		}
		if conns[i], err = rawConnection(ctx, job.DatabaseURL); err != nil {
			return err
		}
	}
	m.start()
	var group errgroup.Group
	for i, conn := range conns {
		group.Go(func() error { return errors.Join(play(conn, trips[i]), conn.Close()) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("replay the recorded statements: %w", err)
	}
	m.settle(job.Records)
	return nil
}

// rawConnection logs in and returns the underlying network connection.
func rawConnection(ctx context.Context, url string) (net.Conn, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	raw, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("hijack the connection: %w", err)
	}
	return raw.Conn, nil
}
