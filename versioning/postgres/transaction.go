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

// beginSQL and settingsSQL begin each transaction of the store, with the planner
// told what is known here and not there: that every statement looks up a batch's
// rows by their keys, so that an index and a nested loop are right, always. A plan
// is made once and kept. Left to itself PostgreSQL makes it for the tables as they
// are then, and for one that is new and empty that is a scan of the whole table,
// which stays until the next ANALYZE, however the table grows. Nothing here runs for
// long enough to be worth compiling, whatever it is thought to cost. The settings end
// with the transaction; triggers on the application's tables run under them.
//
// A worker whose machine vanishes, or that is frozen, in the middle of a
// transaction would keep its rows locked until the server gives up the connection:
// for hours, by default. So PostgreSQL ends a transaction from which it hears
// nothing for 30 s, unless the server or the role has a limit of its own.
const (
	beginSQL    = `BEGIN ISOLATION LEVEL READ COMMITTED`
	settingsSQL = `
SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_material', 'off', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout',
                  coalesce(nullif(current_setting('idle_in_transaction_session_timeout'), '0'), '30s'), true)`
)

// pgxTransaction are the options of a transaction of pgx's own that begins like the
// store's.
var pgxTransaction = pgx.TxOptions{BeginQuery: beginSQL + ";" + settingsSQL}

// alone runs a statement with parameters outside a transaction in one message: behind
// a pooler, the second of two could run in another session, as another statement.
const alone = pgx.QueryExecModeExec

// A sender sends statements within a transaction: all of a batch in one round trip.
type sender interface {
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

// A transaction begins with its first statements and ends with its last ones, in one
// round trip with them. (One that pgx begins with a batch, by Batch.BeginTx, takes a
// round trip of its own to commit.) It belongs to one goroutine.
type transaction struct {
	store *edition
	conn  *pgxpool.Conn
	locks fateLocks // to take at its beginning
	begun bool

	server versioning.Server // where it is, once it has begun
}

// SendBatch sends statements.
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

// finish sends the last statements, and the COMMIT with them. If one of them fails,
// PostgreSQL runs none of those behind it: the transaction does not commit.
//
// A COMMIT that waits for a synchronous standby does not fail if that wait is cancelled,
// as a connection may do that is configured to cancel what its context gives up. What
// comes after the context's end is no proof of anything.
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

// inTransaction runs work in a transaction, which work has to finish. If it returns
// an error, or panics, all is rolled back.
func (s *edition) inTransaction(ctx context.Context, work func(*transaction) error) error {
	return connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		err := work(&transaction{store: s, conn: conn})
		if err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK") // where it can't be sent, the connection is closed
		}
		return err
	})
}

// connected runs work on a connection, which goes back to the pool if it is of any
// further use.
func connected(ctx context.Context, pool *pgxpool.Pool, work func(*pgxpool.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Release() // which closes a connection that is still in a transaction
	if err = work(conn); err != nil {
		distrust(ctx, pool, conn, err)
	}
	return throughPooler(err)
}

// distrust closes a connection after an error that its session would go on to give,
// so that the next attempt gets another one. After a failover the pool may be full of
// connections to a server that is read-only for as long as they live, and which takes
// writes from new ones.
func distrust(ctx context.Context, pool *pgxpool.Pool, conn *pgxpool.Conn, err error) {
	switch {
	case isCode(err, readOnlyTransaction):
		pool.Reset() // the others are as old
	case isCode(err, unknownStatement, duplicateStatement, unsupportedFeature, adminShutdown, crashShutdown, cannotConnectNow):
		_ = conn.Conn().Close(ctx)
	}
}
