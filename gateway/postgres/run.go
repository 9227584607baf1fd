package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/internal/handlertx"
)

// A run holds a connection, in a transaction that has locked the key, until it ends.
type run struct {
	b       *Backend
	id      id
	tx      pgx.Tx
	expired bool // there is an expired response, to be replaced
	state   state
}

// A state says what a run holds.
type state int

const (
	ended state = iota
	claimed
	queued // and a slot
)

// savepoint is where the handler's part of the transaction begins.
const savepoint = "pawl_gateway"

// begin opens the transaction, locks the key, and looks again for a stored response: another
// process may have stored one before the key was locked. The lock is PostgreSQL's, and ends
// with the transaction, however that ends.
func (r *run) begin(ctx context.Context) (stored []byte, err error) {
	if err := r.b.enter(ctx); err != nil {
		return nil, err
	}
	r.state = queued
	wait, cancel := context.WithTimeout(ctx, r.b.cfg.QueueTimeout)
	defer cancel()
	// A canceled context would close the connection: the run outlives it.
	if r.tx, err = r.b.pool.BeginTx(wait, r.b.cfg.TxOptions); err != nil {
		return nil, r.b.failed(ctx, fmt.Errorf("begin a transaction: %w", err))
	}
	locked, stored, err := r.lock(wait)
	switch {
	case err != nil:
		err = r.b.failed(ctx, fmt.Errorf("lock the key: %w", err))
	case stored != nil && !r.expired:
	case !locked:
		stored, err = nil, r.b.inProgress()
	default:
		return nil, nil
	}
	over, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.b.cfg.QueueTimeout)
	defer cancel()
	_ = r.tx.Rollback(over) // if that fails, the connection is closed
	return stored, err
}

// lock locks the key, and reads its response after that: in this order, what the holder
// before has stored is visible.
func (r *run) lock(ctx context.Context) (locked bool, stored []byte, err error) {
	batch := &pgx.Batch{}
	batch.Queue(settingsSQL, milliseconds(r.b.cfg.IdleTimeout))
	batch.Queue(lockSQL, r.b.lockKey(r.id)).QueryRow(func(row pgx.Row) error { return row.Scan(&locked) })
	batch.Queue(r.b.sql.reread, r.id[:]).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&stored, &r.expired)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	batch.Queue("SAVEPOINT " + savepoint)
	return locked, stored, r.tx.SendBatch(ctx, batch).Close()
}

// milliseconds returns a timeout as the server expects it, or "" for 0.
func milliseconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprint(max(1, d.Milliseconds()))
}

// Context gives the handler the transaction; see [Tx].
func (r *run) Context(ctx context.Context) context.Context {
	return context.WithValue(handlertx.Mark(ctx), txKey{}, handlerTx{r.tx})
}

var (
	errHandlerEnded  = errors.New("the handler has ended the gateway's transaction, and it is not known what of it has taken effect; use savepoints (Tx.Begin) instead")
	errHandlerFailed = errors.New("the handler has answered with success although a statement of its transaction has failed")
)

// Finish stores the response in the handler's transaction and commits.
func (r *run) Finish(ctx context.Context, result gateway.Result) error {
	if r.state == ended {
		return gateway.ErrEnded
	}
	defer r.free()
	if err := r.store(ctx, result); err != nil {
		_ = r.tx.Rollback(ctx) // if that fails, the connection is closed
		return err
	}
	if err := r.tx.Commit(ctx); err != nil {
		return r.b.commitFailed(err)
	}
	return nil
}

// store writes the response. After an error, the transaction must be rolled back.
func (r *run) store(ctx context.Context, result gateway.Result) error {
	switch status := r.tx.Conn().PgConn().TxStatus(); {
	case r.tx.Conn().IsClosed():
		return r.b.unavailable(errConnectionLost)
	case status == 'I':
		return errHandlerEnded
	case status == 'E' && !result.Undo:
		return errHandlerFailed
	}
	if result.Undo {
		// Not in the batch below: in a transaction that has failed, its statements can't be
		// prepared.
		if _, err := r.tx.Exec(ctx, "ROLLBACK TO SAVEPOINT "+savepoint); err != nil {
			return r.b.failed(ctx, fmt.Errorf("undo what the handler did: %w", err))
		}
	}
	batch := &pgx.Batch{}
	if r.expired {
		batch.Queue(r.b.sql.deleteExpired, r.id[:])
	}
	batch.Queue(r.b.sql.insert, r.id[:], result.Response, r.b.cfg.TTL)
	err := r.tx.SendBatch(ctx, batch).Close()
	switch {
	case err == nil:
		return nil
	case isCode(err, uniqueViolation):
		return fmt.Errorf("%w: %w", gateway.ErrTaken, err)
	case ctx.Err() != nil:
		return r.b.unavailable(err) // COMMIT was not sent
	}
	return r.b.failed(ctx, fmt.Errorf("store the response: %w", err))
}

var errConnectionLost = errors.New("the connection of the transaction is lost")

// Release rolls the transaction back.
func (r *run) Release(ctx context.Context) error {
	if r.state == ended {
		return gateway.ErrEnded
	}
	defer r.free()
	if err := r.tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// free gives back what the run holds in this process, after its transaction has ended.
func (r *run) free() {
	if r.state == queued {
		<-r.b.slots
	}
	r.state = ended
	r.b.unclaim(r.id)
}
