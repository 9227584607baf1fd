package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// foreignWrite changes two columns of a wallet: seen, which is in the row type of the
// machine, so that actions write it back, and visits, which is not. It does not raise the
// version. The count is in the same database, so that a failover that loses a write loses
// its count too.
const foreignWrite = `
WITH written AS (UPDATE torture.wallets SET seen = seen + 1, visits = visits + 1 WHERE id = $1 RETURNING id)
INSERT INTO torture.foreign_writes SELECT id FROM written`

// foreignPause is the time between two writes.
var foreignPause = seconds(0, 0.04)

// startForeign starts a writer for each tenant. The returned function stops them; it may be
// called several times.
func (t *torture) startForeign(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for _, tenancy := range t.tenancies {
		writers.Go(func() { t.writeForeign(ctx, tenancy.tenant) })
	}
	return func() {
		cancel()
		writers.Wait()
	}
}

// writeForeign writes the rows of a tenant's wallets until ctx is done, like another
// application that knows nothing of the workers.
func (t *torture) writeForeign(ctx context.Context, to tenant) {
	for ctx.Err() == nil {
		t.database.mu.Lock()
		url := t.database.url("")
		t.database.mu.Unlock()
		if conn, err := pgx.Connect(ctx, url); err == nil {
			t.writeOn(ctx, conn, to)
			_ = conn.Close(context.WithoutCancel(ctx)) // it may be broken
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// writeOn writes until a write fails.
func (t *torture) writeOn(ctx context.Context, conn *pgx.Conn, to tenant) {
	sql := to.sql(foreignWrite)
	for sleep(ctx, foreignPause.draw()) {
		if _, err := conn.Exec(ctx, sql, wallet(rand.IntN(t.cfg.partitions), rand.IntN(walletsEach))); err != nil {
			return
		}
	}
}
