package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	readOnlySQL = `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`
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

// connected runs work on a connection. The connection then returns to the pool if it
// can still be used.
func connected(ctx context.Context, pool *pgxpool.Pool, work func(*pgxpool.Conn) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Release() // closes a connection that is still in a transaction
	defer sendColumns(conn.Conn().TypeMap(), roomOf(conn.Conn()))()
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
