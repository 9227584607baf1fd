package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/pawl-go/pawl/migrations"
)

// lockID returns the advisory lock that keeps two migrations of one schema apart. Builds
// of all versions must agree on it.
func lockID(schema migrations.Schema) int64 {
	if schema.String() == migrations.DefaultSchema {
		return 0x7061776c // "pawl" in ASCII
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(schema.String())) // a hash never fails
	return int64(h.Sum64())
}

// locked runs work while no other migration runs. It waits up to five minutes for other
// migrations. The lock belongs to a transaction, which keeps its session behind a pooler
// too; a session lock could stay behind in the pooler. A caller that waits holds no
// session, because the caller that migrates needs two and may need that one.
func locked(ctx context.Context, db *sql.DB, schema migrations.Schema, work func() error) error {
	const wait, pause = 5 * time.Minute, 100 * time.Millisecond
	for deadline := time.Now().Add(wait); ; {
		ran, err := tryLocked(ctx, db, schema, work)
		if ran || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another migration has been running for %v", wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// tryLocked runs work unless another migration runs. The lock's transaction is idle while
// work runs, so tryLocked turns its timeouts off.
func tryLocked(ctx context.Context, db *sql.DB, schema migrations.Schema, work func() error) (ran bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // it wrote nothing
	const unlimited = `
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')`
	if _, err := tx.ExecContext(ctx, unlimited); err != nil {
		return false, err
	}
	var isOurs bool
	err = tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, lockID(schema)).Scan(&isOurs)
	if err != nil || !isOurs {
		return false, err
	}
	return true, work()
}
