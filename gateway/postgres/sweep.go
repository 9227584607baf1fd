package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// sweepBatch is the number of responses that one transaction of a sweep deletes.
const sweepBatch = 1000

// Sweep deletes the responses that have expired, a thousand in a transaction, and returns how
// many. It finds them by an index on the time at which they expire. Processes that sweep at
// the same time share the work. If ctx ends, what was deleted stays deleted.
func (b *Backend) Sweep(ctx context.Context) (deleted int, err error) {
	from := pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	for {
		// Each batch begins where the last one has ended: until VACUUM has run, the index
		// still has the entries of deleted rows.
		var n int
		// With one snapshot, a row that another sweep has deleted since then would be an error.
		err := pgx.BeginTxFunc(ctx, b.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, b.sql.sweep, b.alone, from, sweepBatch).Scan(&n, &from)
		})
		if err != nil {
			return deleted, b.failed(ctx, fmt.Errorf("delete expired responses: %w", err))
		}
		deleted += n
		if n < sweepBatch {
			return deleted, nil
		}
	}
}

// Run sweeps every Config.SweepEvery until ctx ends, and then returns nil. If a sweep fails,
// onError is called with its error, and the next one tries again. One process is enough, more
// do no harm.
func (b *Backend) Run(ctx context.Context, onError func(error)) error {
	tick := time.NewTicker(b.cfg.SweepEvery)
	defer tick.Stop()
	for {
		if _, err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
			onError(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
