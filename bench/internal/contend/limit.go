package contend

import (
	"context"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// runLimit sends the very bytes that a worker sent for these records, over as
// many connections, from memory: what it takes is PostgreSQL's own work, and the
// round trips. Unlike the worker, no connection waits for the others at the end
// of a batch.
func runLimit(ctx context.Context, job Job, m *meter) error {
	var conns []net.Conn
	var trips [][][]byte
	for i := range connections {
		recorded, err := readTrips(recording(job.Recording, i))
		if err != nil {
			return err
		}
		conn, err := rawConnection(ctx, job.DatabaseURL)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns, trips = append(conns, conn), append(trips, recorded)
	}
	m.start()
	var group errgroup.Group
	for i := range conns {
		group.Go(func() error { return play(conns[i], trips[i]) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("play the recorded statements: %w", err)
	}
	m.settle(job.Records)
	return nil
}

// rawConnection logs in, and hands out the connection below.
func rawConnection(ctx context.Context, url string) (net.Conn, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	raw, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take the connection: %w", err)
	}
	return raw.Conn, nil
}
