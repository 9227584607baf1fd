package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A packConn reads the outbox for the relay that holds its lanes, on a separate connection. The
// connections of the pool may all be busy with batches, and then each read would wait for the
// end of a transaction, with its fsync. It is safe for concurrent use; one read runs at a time.
type packConn struct {
	store *Store
	held  context.Context //nolint:containedctx // ends when the lanes are no longer held

	mu   sync.Mutex
	conn *pgx.Conn // nil if there is none
}

// readSeparately makes Packs use a separate connection, also after ctx is canceled, until end is
// called.
func (s *Store) readSeparately(ctx context.Context) (end func()) {
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &packConn{store: s, held: held}
	s.outbox.conn.Store(c)
	return func() {
		s.outbox.conn.Store(nil)
		cancel()
		c.close()
	}
}

// errNotHeld says that the lanes are no longer held, so nobody needs what was read.
var errNotHeld = errors.New("the lanes of the outbox are no longer held")

// run runs a batch of reads in a transaction like the store's.
func (c *packConn) run(ctx context.Context, batch *pgx.Batch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.held, func() { cancel(errNotHeld) })()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held.Err() != nil {
		return errNotHeld
	}
	err := c.send(ctx, batch)
	if err != nil {
		c.disconnect() // the transaction may still be open
		if errors.Is(context.Cause(ctx), errNotHeld) {
			err = fmt.Errorf("%w: %w", errNotHeld, err)
		}
	}
	return throughPooler(err)
}

func (c *packConn) send(ctx context.Context, batch *pgx.Batch) (err error) {
	if c.conn == nil || c.conn.IsClosed() {
		if c.conn, err = c.store.connect(ctx); err != nil {
			c.conn = nil
			return fmt.Errorf("connect to PostgreSQL: %w", err)
		}
		sendColumns(c.conn.TypeMap(), roomOf(c.conn))
	}
	whole := &pgx.Batch{}
	whole.Queue(beginSQL)
	whole.Queue(settingsSQL)
	whole.QueuedQueries = append(whole.QueuedQueries, batch.QueuedQueries...)
	whole.Queue("COMMIT")
	return c.conn.SendBatch(ctx, whole).Close()
}

func (c *packConn) disconnect() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

// close closes the connection. A read that still runs fails soon.
func (c *packConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnect()
}
