package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// beginSQL and settingsSQL begin each transaction of the store. The settings tell the
// planner what it can't know: every statement looks up the rows of a batch by their
// keys, so an index and a nested loop are always right. PostgreSQL makes a plan once
// and keeps it. Without the settings it makes the plan for the current size of the
// tables, and for a new and empty table that is a sequential scan, which stays until
// the next ANALYZE, however large the table grows. No statement here runs long enough
// for JIT compilation to pay off, whatever its estimated cost. The settings end with
// the transaction. Triggers on the application's tables run under them.
//
// If a worker's host disappears or freezes during a transaction, its rows stay locked
// until the server gives up the connection: for hours, by default. So PostgreSQL ends a
// transaction that is idle for 30 s, unless the server or the role has a different
// limit.
const (
	beginSQL    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	settingsSQL = `
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_material', 'off', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout',
                  coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '30s'), true)`
)

// pgxTransaction are the options with which pgx begins a transaction like the store's.
var pgxTransaction = pgx.TxOptions{BeginQuery: beginSQL + ";" + settingsSQL}

// oneMessage runs a statement with parameters outside a transaction in one message.
// Behind a pooler, the second of two messages could reach another session, where the
// statement is a different one.
const oneMessage = pgx.QueryExecModeExec

// A sender sends statements within a transaction: a whole batch in one round trip.
type sender interface {
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

// A transaction begins with its first statements and ends with its last ones, in the
// same round trips. (A transaction that pgx begins with a batch, by Batch.BeginTx,
// needs a separate round trip to commit.) It belongs to one goroutine.
type transaction struct {
	store *snapshot
	conn  *pgxpool.Conn
	locks fateLocks // taken at the beginning
	begun bool

	server versioning.Server // set once the transaction has begun
}

// SendBatch sends statements. Before the first ones it begins the transaction.
func (t *transaction) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if !t.begun {
		t.begun = true
		first := &pgx.Batch{}
		first.Queue(beginSQL)
		first.Queue(settingsSQL + ", " + t.store.schema.serverSQL).QueryRow(func(row pgx.Row) error {
			return row.Scan(nil, nil, nil, nil, nil, nil, nil, &t.server)
		})
		t.locks.queue(first, t.store.schema)
		b.QueuedQueries = slices.Concat(first.QueuedQueries, b.QueuedQueries)
	}
	return t.conn.SendBatch(ctx, b)
}

// finish sends the last statements together with the COMMIT. If one of them fails,
// PostgreSQL does not run those after it, so the transaction does not commit.
//
// A COMMIT that waits for a synchronous standby succeeds even if that wait is canceled,
// and a connection may be configured to send a cancel request when its context ends. So
// a result that arrives after the context has ended proves nothing.
func (t *transaction) finish(ctx context.Context, writes *pgx.Batch) error {
	writes.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback // the answer to a COMMIT after a failed statement
		}
		return nil
	})
	if err := t.store.written(t.SendBatch(ctx, writes).Close()); err != nil {
		return err
	}
	return ctx.Err()
}

// inTransaction runs work in a transaction, which work must finish. If work returns an
// error or panics, the transaction is rolled back.
func (s *snapshot) inTransaction(ctx context.Context, work func(*transaction) error) error {
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		err := work(&transaction{store: s, conn: conn})
		if err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK") // if it can't be sent, the connection is closed
		}
		return err
	})
}

// connected runs work on a connection. The connection then returns to the pool if it
// can still be used.
func connected(ctx context.Context, pool *pgxpool.Pool, work func(*pgxpool.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Release() // closes a connection that is still in a transaction
	if err = work(conn); err != nil {
		discard(ctx, pool, conn, err)
	}
	return throughPooler(err)
}

// discard closes a connection after an error that its session would keep returning, so
// that the next attempt gets another one. After a failover, the pool may be full of
// connections to a server that is read-only for old sessions but accepts writes in new
// ones.
func discard(ctx context.Context, pool *pgxpool.Pool, conn *pgxpool.Conn, err error) {
	switch {
	case isCode(err, readOnlyTransaction):
		pool.Reset() // the other connections are as old
	case isCode(err, unknownStatement, duplicateStatement, unsupportedFeature, adminShutdown, crashShutdown, cannotConnectNow):
		_ = conn.Conn().Close(ctx)
	}
}
