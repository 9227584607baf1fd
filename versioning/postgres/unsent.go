package postgres

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawl-go/pawl/versioning"
)

// queueUnsent queues the statement that stores unsent messages. A relay that has lost its lane
// may store the same message as the one that has it now.
func queueUnsent(batch *pgx.Batch, in *schema, refused []versioning.Refused) {
	var ids, machines, entities, sources, events, topics, types, headers, reasons, details []string
	var versions bigints
	var indexes, attempts integers
	var keys, values [][]byte
	var times []time.Time
	for i := range refused {
		m := &refused[i]
		ids, sources = append(ids, m.ID()), append(sources, m.Source)
		machines, entities = append(machines, m.Entity.Machine), append(entities, m.Entity.Key)
		events, versions = append(events, string(m.Event)), append(versions, m.Version)
		indexes, attempts = append(indexes, int32(m.Index)), append(attempts, int32(m.Attempts+1))
		topics, types = append(topics, m.Topic), append(types, m.ContentType)
		keys, values = append(keys, m.Key), append(values, m.Value)
		headers, times = append(headers, encodeHeaders(m.Headers)), append(times, m.Time)
		reasons, details = append(reasons, m.Reason), append(details, textFor(m.Detail))
	}
	batch.Queue(in.sql(insertUnsentSQL), ids, sources, machines, entities, events, versions, indexes, topics, keys, values,
		types, headers, times, reasons, details, attempts)
}

const insertUnsentSQL pawlSQL = `
INSERT INTO pawl.unsent AS t (message_id, source, machine, entity, event, version, index, topic, key, value,
                              content_type, headers, emitted_at, reason, detail, attempts)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::integer[], $8::text[],
	$9::bytea[], $10::bytea[], $11::text[], $12::jsonb[], $13::timestamptz[], $14::text[], $15::text[], $16::integer[])
ON CONFLICT (message_id) DO UPDATE SET reason = excluded.reason, detail = excluded.detail,
	attempts = greatest(t.attempts, excluded.attempts), died_at = excluded.died_at`

// An UnsentFilter selects unsent messages. The zero value selects all. All fields that are set
// must match.
type UnsentFilter struct {
	IDs     []int64
	Reason  string // the name of Kafka's error
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // was refused at this time or later
	To      time.Time // was refused before this time

	// After skips messages with this ID or a lower one, and Limit limits how many are
	// returned: use them to page through a long list. Limit 0 means 100.
	After int64
	Limit int
}

// Unsent returns the unsent messages that match, in ascending order of ID: those of the outbox
// that can't be published, such as one that is too large for its topic.
func (s *Store) Unsent(ctx context.Context, f UnsentFilter) ([]versioning.UnsentMessage, error) {
	return s.schema.listUnsent(ctx, s.pool, f)
}

func (s *schema) listUnsent(ctx context.Context, pool *pgxpool.Pool, f UnsentFilter) ([]versioning.UnsentMessage, error) {
	rows, err := pool.Query(ctx, s.sql(listUnsentSQL), oneMessage, f.IDs, f.Reason, f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), f.After, cmp.Or(max(f.Limit, 0), defaultLimit))
	if err != nil {
		return nil, withCause(fmt.Errorf("list unsent messages: %w", err))
	}
	unsent, err := pgx.CollectRows(rows, scanUnsent)
	if err != nil {
		return nil, withCause(fmt.Errorf("list unsent messages: %w", err))
	}
	return unsent, nil
}

func scanUnsent(row pgx.CollectableRow) (m versioning.UnsentMessage, err error) {
	var headers []byte
	err = row.Scan(&m.ID, &m.Source, &m.Entity.Machine, &m.Entity.Key, &m.Event, &m.Version, &m.Index, &m.Topic, &m.Key, &m.Value,
		&m.ContentType, &headers, &m.Time, &m.Reason, &m.Detail, &m.Attempts, &m.DiedAt)
	if err != nil {
		return m, err
	}
	m.Time = m.Time.UTC()
	m.Headers, err = decodeHeaders(headers)
	return m, err
}

const unsentColumns = `id, source, machine, entity, event, version, index, topic, key, value,
       content_type, headers, emitted_at, reason, detail, attempts, died_at`

// $1 IDs, $2 reason, $3 machine, $4 entity, $5 topic, $6 from, $7 to, $8 after, $9 limit
const listUnsentSQL pawlSQL = `
SELECT ` + unsentColumns + ` FROM pawl.unsent AS u
WHERE ($1::bigint[] IS NULL OR u.id = ANY ($1)) AND ($2 = '' OR u.reason = $2) AND ($3 = '' OR u.machine = $3)
  AND ($4 = '' OR u.entity = $4) AND ($5 = '' OR u.topic = $5)
  AND ($6::timestamptz IS NULL OR u.died_at >= $6) AND ($7::timestamptz IS NULL OR u.died_at < $7) AND u.id > $8
ORDER BY u.id LIMIT $9`

// Resend puts unsent messages back into the outbox, in one transaction. A relay then publishes
// them with the same message IDs as before, but after later messages of their entities. It
// returns how many there were: IDs that no longer exist are skipped. A message that is refused
// again becomes an unsent message again, with another ID and one more attempt.
func (s *Store) Resend(ctx context.Context, ids ...int64) (int, error) {
	n := 0
	var packs []*outPack
	err := s.snapshot.Load().inTransaction(ctx, func(tx *transaction) error {
		batch := &pgx.Batch{}
		var unsent []versioning.UnsentMessage
		batch.Queue(s.schema.sql(takeUnsentSQL), ids).Query(func(rows pgx.Rows) (err error) {
			unsent, err = pgx.CollectRows(rows, scanUnsent)
			return err
		})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		var lanes laneWriter
		for i := range unsent {
			lanes.add(&unsent[i].Emitted)
		}
		n, packs, batch = len(unsent), lanes.finish(), &pgx.Batch{}
		if len(packs) > 0 {
			queuePacks(batch, s.schema, packs)
		}
		return tx.finish(ctx, batch)
	})
	if err != nil {
		return 0, withCause(fmt.Errorf("send messages again: %w", err))
	}
	s.outbox.committed(packs)
	return n, nil
}

// takeUnsentSQL deletes and returns the messages with the IDs $1, those of each entity in the
// order in which it emitted them.
const takeUnsentSQL pawlSQL = `
WITH taken AS (
	DELETE FROM pawl.unsent WHERE id = ANY ($1::bigint[]) RETURNING *
)
SELECT ` + unsentColumns + ` FROM taken ORDER BY machine, entity, version, index`
