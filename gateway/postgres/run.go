package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/gateway"
	"github.com/pawl-go/pawl/internal/handlertx"
)

// A run holds a connection, in a transaction that has locked the key, until it ends.
type run struct {
	b       *Backend
	id      id
	conn    *pgxpool.Conn
	tx      pgx.Tx // on conn
	guard   guard  // between the handler and conn
	expired bool   // there is an expired response, to be replaced; not known if snapshot
	state   state

	// snapshot says that all statements of the transaction see what was committed before its
	// first one. That was sent before the key was locked, so the holder before may have stored
	// a response since then. What else it has done is not visible either, but nobody needs it:
	// without a response, it was rolled back.
	snapshot bool
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
	if r.conn, err = r.b.pool.Acquire(wait); err != nil {
		return nil, r.b.failed(ctx, fmt.Errorf("connect: %w", err))
	}
	if r.tx, err = r.conn.BeginTx(wait, r.b.cfg.TxOptions); err != nil {
		r.conn.Release()
		return nil, r.b.failed(ctx, fmt.Errorf("begin a transaction: %w", err))
	}
	locked, stored, err := r.lock(wait)
	if err != nil {
		err = r.b.failed(ctx, fmt.Errorf("lock the key: %w", err))
	}
	if r.expired {
		stored = nil
	}
	if locked && stored == nil && err == nil && r.snapshot {
		stored, err = r.b.lookup(ctx, r.id) // which has a timeout
	}
	switch {
	case stored != nil || err != nil:
	case !locked:
		err = r.b.inProgress()
	default:
		return nil, nil
	}
	over, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.b.cfg.QueueTimeout)
	defer cancel()
	_ = r.tx.Rollback(over) // if that fails, the connection is closed
	r.conn.Release()
	return stored, err
}

// lock locks the key, and reads its response after that: in this order, what the holder
// before has stored is visible, unless the transaction has one snapshot.
func (r *run) lock(ctx context.Context) (locked bool, stored []byte, err error) {
	batch := &pgx.Batch{}
	var readOnly bool
	batch.Queue(settingsSQL, milliseconds(r.b.cfg.IdleTimeout)).QueryRow(func(row pgx.Row) error {
		var isolation string
		err := row.Scan(nil, &isolation, &readOnly)
		r.snapshot = isolation == "repeatable read" || isolation == "serializable"
		return err
	})
	batch.Queue(lockSQL, r.b.lockKey(r.id)).QueryRow(func(row pgx.Row) error { return row.Scan(&locked) })
	batch.Queue(r.b.sql.reread, r.id[:]).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&stored, &r.expired)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	batch.Queue("SAVEPOINT " + savepoint)
	if err := r.tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, nil, err
	}
	if readOnly && stored == nil {
		r.b.renew()
		return false, nil, errReadOnly
	}
	return locked, stored, nil
}

var errReadOnly = errors.New("the transaction is read-only, as on a standby or with default_transaction_read_only; its response could not be stored")

// milliseconds returns a timeout as the server expects it, or "" for 0.
func milliseconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprint(max(1, d.Milliseconds()))
}

// Context gives the handler the transaction; see [Tx].
func (r *run) Context(ctx context.Context) context.Context {
	return context.WithValue(handlertx.Mark(ctx), txKey{}, handlerTx{guardedTx{r.tx, &r.guard}})
}

var (
	errHandlerEnded  = errors.New("the handler has ended the gateway's transaction, and it is not known what of it has taken effect; use savepoints (Tx.Begin) instead")
	errHandlerUses   = errors.New("the handler has returned while a statement of its transaction was running, or rows or a batch were open; its transaction is rolled back")
	errHandlerFailed = errors.New("the handler has answered with success although a statement of its transaction has failed")
)

// Finish stores the response in the handler's transaction and commits.
func (r *run) Finish(ctx context.Context, result gateway.Result) (err error) {
	if r.state == ended {
		return gateway.ErrEnded
	}
	defer func() { err = r.end(ctx, recover(), err) }()
	if r.inUse() {
		r.cut(ctx)
		return errHandlerUses
	}
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
		_, err := r.tx.Exec(ctx, "ROLLBACK TO SAVEPOINT "+savepoint)
		switch {
		case isCode(err, noSavepoint):
			return fmt.Errorf("%w: %w", errHandlerEnded, err)
		case err != nil:
			return r.b.failed(ctx, fmt.Errorf("undo what the handler did: %w", err))
		}
	}
	stored, err := r.insert(ctx, result.Response)
	switch {
	case err == nil && !stored:
		return gateway.ErrTaken
	case err == nil:
		return nil
	case isCode(err, uniqueViolation):
		return fmt.Errorf("%w: %w", gateway.ErrTaken, err)
	case isCode(err, noSavepoint):
		return fmt.Errorf("%w: %w", errHandlerEnded, err)
	case ctx.Err() != nil:
		return r.b.unavailable(err) // COMMIT was not sent
	}
	return r.b.failed(ctx, fmt.Errorf("store the response: %w", err))
}

// insert returns false if there is a response that has not expired.
func (r *run) insert(ctx context.Context, response []byte) (stored bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue("RELEASE SAVEPOINT " + savepoint) // fails if the handler has begun another transaction
	sql := r.b.sql.insert
	if r.expired || r.snapshot {
		sql = r.b.sql.insertOr // not a DELETE before: in a snapshot, the row may be one that a sweep has deleted since
	}
	batch.Queue(sql, r.id[:], response, r.b.cfg.TTL).Exec(func(tag pgconn.CommandTag) error {
		stored = tag.RowsAffected() == 1
		return nil
	})
	err = r.tx.SendBatch(ctx, batch).Close()
	return stored, err
}

var errConnectionLost = errors.New("the connection of the transaction is lost")

// Release rolls the transaction back.
func (r *run) Release(ctx context.Context) (err error) {
	if r.state == ended {
		return gateway.ErrEnded
	}
	defer func() { err = r.end(ctx, recover(), err) }()
	if r.inUse() {
		r.cut(ctx)
		return nil
	}
	if err := r.tx.Rollback(ctx); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// inUse ends the handler's use of the transaction. It reports whether the connection can't be
// used, because a call of the handler is in flight, or rows or a batch are open.
func (r *run) inUse() bool {
	return r.guard.end() || r.conn.Conn().PgConn().IsBusy()
}

// cutTimeout limits how long a session may take to end.
const cutTimeout = time.Second

// cut ends the session, and so the transaction, without the connection: a call of the handler
// may be using that. The call gets an error from the closed socket. The server would notice
// that its client has gone only after the statement, so the statement is canceled: first
// before the socket is closed, as PgBouncer wants it. The server ignores that if it has not
// begun the statement yet, so cut looks whether the session is gone, and cancels again.
func (r *run) cut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTimeout)
	defer cancel()
	conn := r.conn.Conn().PgConn()
	_ = conn.CancelRequest(ctx)
	r.abandon()
	for pause := time.Millisecond; ; pause *= 2 {
		var there bool
		err := r.b.pool.QueryRow(ctx, sessionSQL, r.b.alone, int64(conn.PID())).Scan(&there)
		if err != nil || !there {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		_ = conn.CancelRequest(ctx)
	}
}

// abandon removes the connection from the pool and closes its socket. Both are safe while
// somebody uses the connection.
func (r *run) abandon() {
	_ = r.conn.Hijack().PgConn().Conn().Close()
	r.conn = nil
}

// end gives back what the run holds. panicked is what recover has returned: if the handler
// uses the connection itself, which is not guarded, pgx may panic.
func (r *run) end(ctx context.Context, panicked any, err error) error {
	if panicked != nil {
		if r.conn != nil {
			r.cut(ctx)
		}
		err = fmt.Errorf("%w: panic: %v", gateway.ErrFateUnknown, panicked)
	}
	switch {
	case r.conn == nil:
	case r.guard.raw.Load():
		r.abandon() // the handler may go on using it
	default:
		r.conn.Release()
	}
	r.free()
	return err
}

// free gives back what the run holds in this process, after its transaction has ended.
func (r *run) free() {
	if r.state == queued {
		<-r.b.slots
	}
	r.state = ended
	r.b.unclaim(r.id)
}
