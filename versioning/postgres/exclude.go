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
// what it decides later rests on what tx has written. But a store need not read a row that it
// has written itself, nor its history, as long as nobody else writes the row. So whoever changes
// the history of an entity must also write its row, if only as it was. An empty schema means
// pawl.
//
// Workers wait meanwhile, so tx must be short, and it must not have locked rows before. Set
// lock_timeout: a worker that is frozen in the middle of a transaction would be waited for,
// and all others would wait behind.
func Exclude(ctx context.Context, tx pgx.Tx, schema string) error {
	_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", oneMessage, newSchema(schema).turnKey())
	if err != nil {
		return withCause(fmt.Errorf("wait for the transactions of workers: %w", err))
	}
	return nil
}
