package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// This file has what a relay does with packs; see package relay. All of it is safe for
// concurrent use, by relays that hold the lanes and by those that only think so.

// readPacks limits the packs of one lane in one answer of Packs.
const readPacks = 64

// Packs returns the packs of lanes that are committed and not deleted: for each lane its first
// ones, in their order. The order of the packs of one lane is one in which every entity's
// messages are in the order of its transitions, and a pack that is visible now is never after
// one of the same entity that becomes visible later.
//
// A row that can't be unpacked holds up its lane only: Packs returns the packs before it and
// those of other lanes, and also an error with the cause Data.
func (s *Store) Packs(ctx context.Context, want []versioning.Wanted) ([]versioning.Pack, error) {
	packs, damaged, err := s.readPacks(ctx, want)
	if err != nil {
		return nil, withCause(fmt.Errorf("read the outbox: %w", err))
	}
	if damaged != nil {
		return packs, &versioning.Error{Cause: versioning.Data, Err: fmt.Errorf("read the outbox: %w", damaged)}
	}
	return packs, nil
}

// readPacks reads packs. damaged has the errors of rows that can't be unpacked.
func (s *Store) readPacks(ctx context.Context, want []versioning.Wanted) (packs []versioning.Pack, damaged, err error) {
	lanes, most := make([]int16, len(want)), make(bigints, len(want))
	has := []int64{} // not NULL
	for i, w := range want {
		lanes[i], most[i] = int16(w.Lane), int64(w.Bytes)
		has = append(has, w.Has...)
	}
	known := s.outbox.recentIDs(want)
	batch := &pgx.Batch{}
	batch.Queue(s.schema.sql(readPacksSQL), lanes, most, has, known, readPacks).Query(func(rows pgx.Rows) (err error) {
		packs, damaged, err = s.scanPacks(rows)
		return err
	})
	if c := s.outbox.conn.Load(); c != nil {
		err = c.run(ctx, batch)
	} else {
		err = s.snapshot.Load().inTransaction(ctx, func(tx *transaction) error { return tx.finish(ctx, batch) })
	}
	return packs, damaged, err
}

func (s *Store) scanPacks(rows pgx.Rows) (packs []versioning.Pack, damaged, err error) {
	var p versioning.Pack
	var slot, lane int16
	var messages []byte
	gap := -1 // a lane whose next packs must wait for another call
	_, err = pgx.ForEachRow(rows, []any{&slot, &lane, &p.ID, &p.Token, &p.At, &p.Size, &messages}, func() error {
		p.Slot, p.Lane = int(slot), int(lane)
		recent, ok := s.outbox.take(p.PackRef)
		switch {
		case p.Lane == gap:
			return nil
		case messages != nil:
		case ok:
			messages = recent
		default: // it was in memory a moment ago
			gap = p.Lane
			return nil
		}
		var problem error
		if p.Messages, problem = unpack(messages); problem != nil {
			gap, damaged = p.Lane, errors.Join(damaged, fmt.Errorf("lane %d: row %d: %w", p.Lane, p.ID, problem))
			return nil
		}
		packs = append(packs, p)
		return nil
	})
	return packs, damaged, err
}

// readPacksSQL reads up to $5 packs of each of the lanes $1, up to the first one after $2
// bytes, without those with the IDs $3. It leaves out the messages of those with the IDs $4.
const readPacksSQL pawlSQL = `
SELECT p.slot, p.lane, p.id, p.token, p.at, p.size, CASE WHEN p.id = ANY ($4::bigint[]) THEN NULL ELSE p.messages END
FROM unnest($1::smallint[], $2::bigint[]) AS u(lane, most)
CROSS JOIN LATERAL (
	SELECT *, sum(f.size) OVER (ORDER BY f.id) - f.size AS before
	FROM (
		SELECT o.slot, o.lane, o.id, o.token, o.at, octet_length(o.messages) AS size, o.messages
		FROM pawl.outbox AS o
		WHERE o.lane = u.lane AND o.id <> ALL ($3::bigint[])
		ORDER BY o.id LIMIT $5
	) AS f
) AS p
WHERE p.before < u.most OR p.before = 0
ORDER BY p.lane, p.id`

// RefuseMessages makes messages of a pack unsent messages, which Unsent lists, and leaves the
// rest of the pack in the outbox. Both happen or neither. It returns the new pack; its ID is
// the same. If nothing is left, the pack is deleted, and the new one has no messages. If the
// pack no longer exists, because another relay has dealt with it, nothing happens, and ok is
// false.
func (s *Store) RefuseMessages(ctx context.Context, pack versioning.PackRef, refused []versioning.Refused, rest []versioning.Emitted) (left versioning.Pack, ok bool, err error) {
	defer s.outbox.deleted([]versioning.PackRef{pack})
	err = s.snapshot.Load().inTransaction(ctx, func(tx *transaction) error {
		var at time.Time
		batch := &pgx.Batch{}
		batch.Queue(s.schema.sql(takePackSQL), int16(pack.Slot), int16(pack.Lane), pack.ID, pack.Token).QueryRow(func(row pgx.Row) error { return row.Scan(&at) })
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		batch = &pgx.Batch{}
		queueUnsent(batch, s.schema, refused)
		if len(rest) > 0 {
			left = s.queueRest(batch, pack, at, rest)
		}
		return tx.finish(ctx, batch)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return versioning.Pack{}, false, nil
	case err != nil:
		return versioning.Pack{}, false, withCause(fmt.Errorf("store unsent messages: %w", err))
	}
	return left, true, nil
}

// takePackSQL deletes one pack, and returns when it was written.
const takePackSQL pawlSQL = `
DELETE FROM pawl.outbox WHERE slot = $1::smallint AND lane = $2::smallint AND id = $3::bigint AND token = $4::bigint RETURNING at`

// queueRest queues the statement that writes the rest of a pack in the place of the pack, and
// leaves it as old as it is.
func (s *Store) queueRest(batch *pgx.Batch, pack versioning.PackRef, at time.Time, rest []versioning.Emitted) versioning.Pack {
	var p packer
	for i := range rest {
		p.add(&rest[i])
	}
	data, n := p.pack()
	left := versioning.Pack{PackRef: pack, At: at, Size: len(data), Messages: rest}
	left.Token = restToken(pack.Token) // it is another pack for those who know the old one
	batch.Queue(s.schema.sql(insertRestSQL), left.ID, left.Token, left.At, left.Slot, left.Lane, n, data)
	return left
}

const insertRestSQL pawlSQL = `
INSERT INTO pawl.outbox (id, token, at, slot, lane, n, messages)
VALUES ($1::bigint, $2::bigint, $3::timestamptz, $4::smallint, $5::smallint, $6::integer, $7::bytea)`

// OutboxDepth returns what the outbox contains. It reads all rows, without their messages:
// that is cheap unless the relay has not worked for long.
func (s *Store) OutboxDepth(ctx context.Context) (d versioning.OutboxDepth, err error) {
	var oldest *time.Time
	err = s.pool.QueryRow(ctx, s.schema.sql(depthSQL), oneMessage).Scan(&d.Packs, &d.Messages, &oldest, &d.Age, &d.Unsent)
	if err != nil {
		return versioning.OutboxDepth{}, withCause(fmt.Errorf("read the depth of the outbox: %w", err))
	}
	if oldest != nil {
		d.Oldest = *oldest
	}
	return d, nil
}

const depthSQL pawlSQL = `
SELECT count(*), coalesce(sum(n), 0)::bigint, min(at), coalesce(greatest(clock_timestamp() - min(at), '0'), '0'),
       (SELECT count(*) FROM pawl.unsent)
FROM pawl.outbox`

// TruncateOutbox frees the space of the partitions of the outbox that are empty and that no
// transaction uses. VACUUM can't do that while anybody holds a snapshot. It returns how many
// partitions it has truncated. It waits for nothing: a partition that is locked is left for the
// next call.
func (s *Store) TruncateOutbox(ctx context.Context) (truncated int, err error) {
	slots, err := s.emptySlots(ctx)
	for _, slot := range slots {
		ok, problem := s.truncateSlot(ctx, slot)
		if ok {
			truncated++
		}
		err = errors.Join(err, problem)
	}
	if err != nil {
		return truncated, withCause(fmt.Errorf("truncate the outbox: %w", err))
	}
	return truncated, nil
}

// emptySlots returns the partitions that seem to be empty although they have space, without the
// one that new packs go to.
func (s *Store) emptySlots(ctx context.Context) ([]int, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(emptySlotsSQL), oneMessage, s.schema.String())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// emptySlotsSQL reads the sizes from the catalog of files. The rows are in one query because
// most slots have no file to look into. An empty index has one block. VACUUM may have freed a
// partition, but never frees its index.
const emptySlotsSQL pawlSQL = `
SELECT s.slot FROM (
	SELECT slot, pg_catalog.to_regclass(format('%I.%I', $1::text, 'outbox_' || slot)) AS partition FROM generate_series(0, 7) AS slot
) AS s
WHERE s.slot <> ` + slotSQL + `
  AND (pg_catalog.pg_relation_size(s.partition) > 0 OR pg_catalog.pg_indexes_size(s.partition) > pg_catalog.current_setting('block_size')::bigint)
  AND NOT EXISTS (SELECT FROM pawl.outbox AS o WHERE o.slot = s.slot::smallint)`

// truncateSlot truncates a partition if it is empty. Whoever reads the outbox waits while the
// partition is locked in ACCESS EXCLUSIVE mode, so everything is in one round trip, and the
// partition, which may have many deleted rows, is searched before that.
func (s *Store) truncateSlot(ctx context.Context, slot int) (ok bool, err error) {
	name := pgx.Identifier{s.schema.String(), fmt.Sprint("outbox_", slot)}.Sanitize()
	err = connected(ctx, s.pool, func(conn *pgxpool.Conn) error {
		_, err := conn.Conn().PgConn().Exec(ctx, fmt.Sprintf(truncateSQL, name, s.schema.quoted)).ReadAll()
		if err != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK") // if it can't be sent, the connection is closed
		}
		return err
	})
	if isCode(err, lockNotAvailable) || isGuarded(err) {
		return false, nil
	}
	return err == nil, err
}

// The first lock of truncateSQL excludes everybody who has written to the partition and has not
// committed, and the next statement sees what was committed before it.
const truncateSQL = `BEGIN ISOLATION LEVEL READ COMMITTED;
LOCK TABLE %[1]s IN EXCLUSIVE MODE NOWAIT;
SELECT (NOT EXISTS (SELECT FROM %[1]s))::%[2]s.guarded;
LOCK TABLE %[1]s IN ACCESS EXCLUSIVE MODE NOWAIT;
TRUNCATE %[1]s;
COMMIT`

// isGuarded reports whether an error is that of a guarded statement.
func isGuarded(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.DataTypeName == "guarded"
}
