package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// This file deletes what relays have published.

// DeletePacks deletes packs whose messages are published, those of them that still exist.
// Unless it is durable, PostgreSQL may lose the deletion if it crashes within a second, and
// then the messages are published again. A durable deletion includes what RefuseMessages has
// left of a pack: a relay that has lost the lane may have called it meanwhile.
func (s *Store) DeletePacks(ctx context.Context, packs []versioning.PackRef, durable bool) error {
	defer s.outbox.deleted(packs)
	batch := &pgx.Batch{}
	if !durable {
		batch.Queue("SET LOCAL synchronous_commit = off")
	}
	slots := make(map[int]*slotPacks)
	for _, p := range packs {
		of := slots[p.Slot]
		if of == nil {
			of = &slotPacks{}
			slots[p.Slot] = of
		}
		of.lanes, of.ids, of.tokens = append(of.lanes, int16(p.Lane)), append(of.ids, p.ID), append(of.tokens, p.Token)
	}
	for _, slot := range slices.Sorted(maps.Keys(slots)) {
		of := slots[slot]
		batch.Queue(s.schema.sql(deletePacksSQL), int16(slot), of.lanes, of.ids, of.tokens)
		if durable { // a separate statement sees what the first one has waited for
			batch.Queue(s.schema.sql(deletePacksSQL), int16(slot), of.lanes, of.ids, restTokens(of.tokens))
		}
	}
	return s.deleteFromOutbox(ctx, batch)
}

// slotPacks are packs of one partition.
type slotPacks struct {
	lanes       []int16
	ids, tokens bigints
}

// deleteFromOutbox runs a batch that deletes packs in a transaction.
func (s *Store) deleteFromOutbox(ctx context.Context, batch *pgx.Batch) error {
	err := s.snapshot.Load().inTransaction(ctx, func(tx *transaction) error { return tx.finish(ctx, batch) })
	if err != nil {
		return withCause(fmt.Errorf("delete from the outbox: %w", err))
	}
	return nil
}

// deletePacksSQL deletes the packs of partition $1 with the IDs $3 and tokens $4 in the lanes $2.
// It finds them first. In a join with the table itself, PostgreSQL may choose to read the whole
// table: it makes the plan when the table is empty. That would also read all that was deleted
// before, as long as somebody holds a snapshot.
const deletePacksSQL pawlSQL = `
DELETE FROM pawl.outbox AS o
WHERE o.slot = $1::smallint AND o.token = ANY ($4::bigint[]) AND o.ctid = ANY (ARRAY(
	SELECT p.ctid
	FROM (SELECT unnest($2::smallint[]) AS lane, unnest($3::bigint[]) AS id, unnest($4::bigint[]) AS token OFFSET 0) AS u
	CROSS JOIN LATERAL (
		SELECT ctid FROM pawl.outbox WHERE slot = $1::smallint AND lane = u.lane AND id = u.id AND token = u.token OFFSET 0
	) AS p
))`
