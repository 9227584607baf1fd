package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

const parkedColumns pawlSQL = `
SELECT p.topic, p.topic_id, p.partition, p."offset", p.scope, p.seq, p.machine, p.entity, p.reason, p.seen_version,
       p.changes, p.key, p.value, p.headers, p."timestamp"`

const readParkedSQL pawlSQL = parkedColumns + `
FROM (SELECT pg_catalog.unnest($2::text[]) AS key OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.parked WHERE machine = $1 AND entity = u.key ORDER BY seq OFFSET 0
) AS p`

func (r *reader) scanParked(rows pgx.Rows) error {
	parked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (parkedInTurn, error) {
		p, err := r.store.scanParked(row)
		if r.parkedBytes += sizeOf(p.Record); err == nil && r.parkedBytes > maxParkedBytes && r.bounded {
			err = errTooMuchParked
		}
		return p, err
	})
	r.parked = append(r.parked, parked...)
	return err
}

// scanParked reads a row with the columns of parkedColumns, and the columns that
// follow.
func (s *snapshot) scanParked(row pgx.Row, more ...any) (parkedInTurn, error) {
	p := parkedInTurn{Parked: versioning.Parked{Record: &versioning.Record{}}}
	r := p.Record
	var scope string
	var changes, headers []byte
	err := row.Scan(append([]any{
		&r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset, &scope, &p.seq,
		&p.Entity.Machine, &p.Entity.Key, &p.Reason, &p.Seen, &changes, &r.Key, &r.Value, &headers, &r.Timestamp,
	}, more...)...)
	if err != nil {
		return p, err
	}
	keptAs(r, scope)
	if r.Headers, err = decodeHeaders(headers); err != nil {
		return p, err
	}
	return p, s.decodeChanges(r, changes)
}

// parkedInTurn is a parked record and its place in the order in which records were
// parked.
type parkedInTurn struct {
	versioning.Parked

	seq int64
}

func (w *writer) park(parked []versioning.Parked) {
	var whole fullRecords
	var machines, entities, reasons, changes []string
	var seen []int64
	for _, p := range parked {
		whole.add(w.store, p.Record)
		machines = append(machines, p.Entity.Machine)
		entities = append(entities, p.Entity.Key)
		reasons = append(reasons, string(p.Reason))
		seen = append(seen, p.Seen)
		changes = append(changes, w.store.encodeChanges(p.Record))
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(insertParkedSQL), whole.ids, whole.partitions, whole.offsets, whole.scopes, whole.topics, machines, entities,
			reasons, seen, changes, whole.keys, whole.values, whole.headers, whole.timestamps)
	}
}

const insertParkedSQL pawlSQL = `
INSERT INTO pawl.parked (topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
                         changes, key, value, headers, "timestamp")
SELECT topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
       changes, key, value, headers, "timestamp"
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::bigint[], $10::jsonb[], $11::bytea[], $12::bytea[], $13::jsonb[], $14::timestamptz[]) WITH ORDINALITY
	AS u(topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
	     changes, key, value, headers, "timestamp", n)
ORDER BY u.n
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

func (w *writer) repark(parked []versioning.Parked) {
	var at keptAt
	var machines, entities, reasons []string
	var seen []int64
	for _, p := range parked {
		at.add(p.Record, w.store.scope(p.Record))
		machines = append(machines, p.Entity.Machine)
		entities = append(entities, p.Entity.Key)
		reasons = append(reasons, string(p.Reason))
		seen = append(seen, p.Seen)
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(updateParkedSQL), at.ids, at.partitions, at.offsets, at.scopes, machines, entities, reasons, seen)
	}
}

const updateParkedSQL pawlSQL = `
UPDATE pawl.parked AS p SET machine = u.machine, entity = u.entity, reason = u.reason, seen_version = u.seen
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
	AS u(topic_id, partition, "offset", scope, machine, entity, reason, seen)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope`

const deleteParkedSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope
RETURNING true`

// unparkSQL deletes the parked records of some origins for any of the machines $4: a
// record that can no longer be decoded has no scope, but may have had one.
const unparkSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[]) AS u(topic_id, partition, "offset")
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = ANY ($4::text[])`

// A ParkedFilter selects parked records. The zero value selects all. All fields that
// are set must match.
type ParkedFilter struct {
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // parked at this time or later
	To      time.Time // parked before this time

	// Limit limits how many records are returned. 0 means 100.
	Limit int
}

// Parked returns the parked records that match, in the order in which they were parked.
func (s *Store) Parked(ctx context.Context, f ParkedFilter) ([]versioning.ParkedRecord, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listParkedSQL), oneMessage, string(f.Reason), f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), limitOr(f.Limit))
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	parked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.ParkedRecord, error) {
		var at time.Time
		p, err := s.snapshot.Load().scanParked(row, &at)
		return versioning.ParkedRecord{Parked: p.Parked, ParkedAt: at}, err
	})
	if err != nil {
		return nil, withCause(fmt.Errorf("list parked records: %w", err))
	}
	return parked, nil
}

// $1 reason, $2 machine, $3 entity, $4 topic, $5 from, $6 to, $7 limit
const listParkedSQL pawlSQL = parkedColumns + `, p.parked_at
FROM pawl.parked AS p
WHERE ($1 = '' OR p.reason = $1) AND ($2 = '' OR p.machine = $2) AND ($3 = '' OR p.entity = $3) AND ($4 = '' OR p.topic = $4)
  AND ($5::timestamptz IS NULL OR p.parked_at >= $5) AND ($6::timestamptz IS NULL OR p.parked_at < $6)
ORDER BY p.seq LIMIT $7`
