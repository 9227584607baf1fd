package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A loss is one time at which the database lost commits, because a standby or a backup has
// replaced its server. The times are those of this machine, which is the servers' too.
type loss struct {
	// kept is a time before which nothing was lost: what a client knew to be committed by then
	// is still there.
	kept time.Time

	// at is a time at which the old server was dead, and the workers could not reach the new one.
	at time.Time
}

// lose records a loss. It must be called when the new server runs and nobody writes to it yet.
//
// It looks for the last transaction that the new server has, by the time at which it began.
// Whatever a client knew to be committed by then is before the commit of this transaction in the
// WAL, of which the new server has a prefix.
func (d *database) lose(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.url(""))
	if err != nil {
		return fmt.Errorf("find out what was lost: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // closing releases everything it holds
	lost := loss{at: d.killed}
	for _, t := range tenants {
		var kept time.Time
		if err := conn.QueryRow(ctx, t.sql(`SELECT coalesce(max(at), 'epoch') FROM pawl.transitions`)).Scan(&kept); err != nil {
			return fmt.Errorf("find out what was lost: %w", err)
		}
		if kept.After(lost.kept) {
			lost.kept = kept
		}
	}
	d.losses = append(d.losses, lost)
	return nil
}
