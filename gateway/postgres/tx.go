package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type txKey struct{}

// Tx returns the transaction of the request whose handler got ctx. What the handler writes in
// it commits together with the stored response, or not at all. The gateway begins and ends
// it: Commit and Rollback return [ErrManaged]. Begin makes a savepoint, as always. If the
// response has a status of 4xx, what the handler wrote is rolled back, and the response is
// stored.
//
// Tx returns nil if the request has none: its method needs no key, or the backend is
// [Backend.WithoutTransaction].
//
// Nor may the handler end it with statements, or use a savepoint of the name pawl_gateway, which
// is the gateway's: what of its changes takes effect is not known then.
//
// The handler must close its rows and batches, and wait for its goroutines that use the
// transaction, before it returns. After that, all calls return [pgx.ErrTxClosed]. If a call is
// still running then, or rows or a batch are open, the gateway cancels the statement, closes
// the connection and stores nothing, whatever the response. One goroutine at a time may use
// the transaction; a call during another one returns an error.
//
// A handler that sets another role for its transaction (SET LOCAL ROLE) must set the former
// one again before it returns, or give the other one the rights that [Open] lists: the response
// is stored with the role that is set then. ROLLBACK TO a savepoint undoes SET LOCAL, too.
//
// The gateway can't see what is done with the connection itself, which Conn, LargeObjects and
// the method Conn of rows give. So a connection that a handler has got in this way is closed
// after the request, and the pool makes a new one. It does not know of a connection that pgx
// shows to the handler's functions: [pgx.QueryRewriter], [pgx.RowScanner], and those of a batch.
// They must not keep it.
func Tx(ctx context.Context) pgx.Tx {
	tx, ok := ctx.Value(txKey{}).(handlerTx)
	if !ok {
		return nil
	}
	return tx
}

// ErrManaged is what Commit and Rollback of a handler's transaction return.
var ErrManaged = errors.New("the gateway ends this transaction: it commits with a response that is stored, and is rolled back otherwise")

// A handlerTx is a transaction that the handler can't end.
type handlerTx struct{ guardedTx }

func (handlerTx) Commit(context.Context) error   { return ErrManaged }
func (handlerTx) Rollback(context.Context) error { return ErrManaged }

// A guardedTx is a handler's transaction, or a savepoint in it.
type guardedTx struct {
	tx    pgx.Tx
	guard *guard
}

func (t guardedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	inner := guardedTx{guard: t.guard}
	err := t.guard.do(func() (err error) {
		inner.tx, err = t.tx.Begin(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return inner, nil
}

// Commit releases a savepoint.
func (t guardedTx) Commit(ctx context.Context) error {
	return t.guard.do(func() error { return t.tx.Commit(ctx) })
}

// Rollback rolls back to a savepoint.
func (t guardedTx) Rollback(ctx context.Context) error {
	return t.guard.do(func() error { return t.tx.Rollback(ctx) })
}

func (t guardedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (n int64, err error) {
	err = t.guard.do(func() (err error) {
		n, err = t.tx.CopyFrom(ctx, table, columns, source)
		return err
	})
	return n, err
}

func (t guardedTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	var results pgx.BatchResults
	err := t.guard.do(func() error {
		results = t.tx.SendBatch(ctx, batch)
		return nil
	})
	if err != nil {
		return pgx.FailedBatchResults(batch, err)
	}
	return guardedBatch{results, t.guard}
}

func (t guardedTx) Prepare(ctx context.Context, name, sql string) (statement *pgconn.StatementDescription, err error) {
	err = t.guard.do(func() (err error) {
		statement, err = t.tx.Prepare(ctx, name, sql)
		return err
	})
	return statement, err
}

func (t guardedTx) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	err = t.guard.do(func() (err error) {
		tag, err = t.tx.Exec(ctx, sql, args...)
		return err
	})
	return tag, err
}

func (t guardedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.guard.rows(func() (pgx.Rows, error) { return t.tx.Query(ctx, sql, args...) })
}

func (t guardedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.guard.row(func() pgx.Row { return t.tx.QueryRow(ctx, sql, args...) })
}

func (t guardedTx) LargeObjects() pgx.LargeObjects {
	if !t.guard.expose() {
		return closedTx.LargeObjects()
	}
	return t.tx.LargeObjects()
}

// Conn returns nil after the handler has returned.
func (t guardedTx) Conn() *pgx.Conn {
	if !t.guard.expose() {
		return nil
	}
	return t.tx.Conn()
}

// closedTx is a transaction that has ended: all its methods return [pgx.ErrTxClosed].
var closedTx = func() pgx.Tx {
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{})
	return pgx.FailedBatchResults(batch, pgx.ErrTxClosed).Tx()
}()
