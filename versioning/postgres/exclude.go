package postgres

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
)

// turnKey returns the number of the advisory lock that each transaction of a store in the
// schema shares, from before it reads until it has ended.
func (s *schema) turnKey() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("pawl: the transactions of schema " + s.String())) // never fails
	return int64(h.Sum64())
}

// turnSQL is an expression that shares the lock. The number is not a parameter, because every
// transaction runs the query and PostgreSQL plans a statement without parameters only once.
func (s *schema) turnSQL() string {
	return fmt.Sprintf("pg_catalog.pg_advisory_xact_lock_shared('%d'::bigint)", s.turnKey())
}

// Exclude waits until no transaction of a store in the schema is between reading and writing,
// and keeps stores from reading until tx ends. It is for those who write what stores read and
// do not guard, such as the history: what a worker has decided before is written before, and
// what it decides later rests on what tx has written. An empty schema means pawl.
//
// Workers wait meanwhile, so tx must be short, and it must not have locked rows before. Set
// lock_timeout: a worker that is frozen in the middle of a transaction would be waited for,
// and all others would wait behind. The role needs SELECT and UPDATE on table tables of the
// schema, like that of a worker.
func Exclude(ctx context.Context, tx pgx.Tx, schema string) error {
	in := newSchema(schema)
	_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", oneMessage, in.turnKey())
	if err != nil {
		return withCause(fmt.Errorf("wait for the transactions of workers: %w", err))
	}
	if _, err := tx.Exec(ctx, in.sql(rewriteTablesSQL), oneMessage); err != nil {
		return withCause(fmt.Errorf("make workers forget what they remember: %w", err))
	}
	return nil
}

// excludeFormat is an SQL expression that changes with each transaction that has called Exclude,
// with the quoted name of the framework's schema for %s: the transactions that have written the
// rows of table tables. Stores do not rely on what they remember from before.
const excludeFormat = `(SELECT coalesce(pg_catalog.string_agg(t.xmin::text, ' ' ORDER BY t.machine), '') FROM %s.tables AS t)`

const rewriteTablesSQL pawlSQL = `UPDATE pawl.tables SET at = at`
