package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

const parkedColumns pawlSQL = `
SELECT p.topic, p.topic_id, p.partition, p."offset", p.scope, p.seq, p.machine, p.entity, p.reason, p.seen_version,
       p.definition, p.changes, p.key, p.value, p.headers, p."timestamp"`

// parkedOfSQL reads the records parked for keys of a machine. Its parameters are numbered by
// readParkedSQL.
const parkedOfSQL pawlSQL = parkedColumns + `
FROM (SELECT pg_catalog.unnest($%[2]d::text[]) AS key OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.parked WHERE machine = $%[1]d AND entity = u.key ORDER BY seq OFFSET 0
) AS p`

// readParkedSQL returns the statement for a number of machines: each with a name and keys.
func readParkedSQL(machines int) pawlSQL {
	all := make([]string, machines)
	for i := range all {
		all[i] = fmt.Sprintf(string(parkedOfSQL), 2*i+1, 2*i+2)
	}
	return pawlSQL(strings.Join(all, "\nUNION ALL"))
}

// readParked queues a query for what is parked for all entities of the view. It is one statement, so
// it sees one moment. A record about two entities waits for one of them, and another transaction may
// let it wait for the other one instead, without moving either. If one statement read what waits for
// the one, and a later statement what waits for the other, they could miss the record, and a later
// record could overtake it.
func (r *reader) readParked(batch *pgx.Batch) {
	r.parked, r.parkedBytes = nil, 0
	var args []any
	for _, t := range r.store.tables {
		if keys := r.keys[t]; len(keys) > 0 {
			args = append(args, t.Machine.Name(), keys)
		}
	}
	batch.Queue(r.store.schema.sql(readParkedSQL(len(args)/2)), args...).Query(r.scanParked)
}

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
		&p.Entity.Machine, &p.Entity.Key, &p.Reason, &p.Seen, &p.Definition, &changes, &r.Key, &r.Value, &headers, &r.Timestamp,
	}, more...)...)
	if err != nil {
		return p, err
	}
	keptAs(r, scope)
	own(r).seq = p.seq
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

// waits are columns of what parked records wait for, as parameters for unnest.
type waits struct {
	machines, entities, reasons texts
	seen                        bigints
	definitions                 integers
}

func (c *waits) add(p versioning.Parked) {
	c.machines = append(c.machines, p.Entity.Machine)
	c.entities = append(c.entities, p.Entity.Key)
	c.reasons = append(c.reasons, string(p.Reason))
	c.seen = append(c.seen, p.Seen)
	c.definitions = append(c.definitions, int32(p.Definition))
}

func (w *writer) park(parked []versioning.Parked) {
	var whole fullRecords
	var on waits
	var changes []string
	for _, p := range parked {
		whole.add(w.store, p.Record)
		on.add(p)
		changes = append(changes, w.store.encodeChanges(p.Record))
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(insertParkedSQL), whole.ids, whole.partitions, whole.offsets, whole.scopes, whole.topics,
			on.machines, on.entities, on.reasons, on.seen, changes, whole.keys, whole.values, whole.headers, whole.timestamps, on.definitions)
	}
}

const insertParkedSQL pawlSQL = `
INSERT INTO pawl.parked (topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
                         changes, key, value, headers, "timestamp", definition)
SELECT topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
       changes, key, value, headers, "timestamp", definition
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::bigint[], $10::jsonb[], $11::bytea[], $12::bytea[], $13::jsonb[], $14::timestamptz[], $15::integer[]) WITH ORDINALITY
	AS u(topic_id, partition, "offset", scope, topic, machine, entity, reason, seen_version,
	     changes, key, value, headers, "timestamp", definition, n)
ORDER BY u.n
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

func (w *writer) repark(parked []versioning.Parked) {
	var at keptAt
	var on waits
	for _, p := range parked {
		at.add(p.Record, w.store.scope(p.Record))
		on.add(p)
	}
	if len(parked) > 0 {
		w.batch.Queue(w.store.schema.sql(updateParkedSQL), at.ids, at.partitions, at.offsets, at.scopes, on.machines, on.entities, on.reasons, on.seen, on.definitions)
	}
}

const updateParkedSQL pawlSQL = `
UPDATE pawl.parked AS p SET machine = u.machine, entity = u.entity, reason = u.reason, seen_version = u.seen, definition = u.definition
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::integer[])
	AS u(topic_id, partition, "offset", scope, machine, entity, reason, seen, definition)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope`

const deleteParkedSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = u.scope
RETURNING true`

// unparkSQL deletes the parked records of some origins for any of the machines $4: if a
// record can't be decoded, it is unknown for which of them it was parked.
const unparkSQL pawlSQL = `
DELETE FROM pawl.parked AS p
USING unnest($1::uuid[], $2::integer[], $3::bigint[]) AS u(topic_id, partition, "offset")
WHERE p.topic_id = u.topic_id AND p.partition = u.partition AND p."offset" = u."offset" AND p.scope = ANY ($4::text[])`

// moved returns the next keys, after the given one, of entities whose parked records
// must be judged again.
func (s *snapshot) moved(ctx context.Context, t *table, after string) (keys []string, err error) {
	var states []string
	for _, state := range t.Machine.States() {
		states = append(states, string(state))
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgxTransaction, func(tx pgx.Tx) error {
		noneNewer := len(s.rules[t.Machine.Name()].Newer) == 0
		rows, err := tx.Query(ctx, t.movedSQL(s.schema), t.Machine.Name(), sweepLimit, states, after, t.Machine.Version(), noneNewer, t.retiredLater(), s.knownEvents(t))
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return keys, err
}

// retiredLater returns the states of the table's machine that newer definitions retire.
func (t *table) retiredLater() (states texts) {
	for _, d := range t.definitions {
		for _, state := range d.Outline.Retired {
			if d.Outline.Version > t.Machine.Version() && t.Machine.Has(state) {
				states = append(states, string(state))
			}
		}
	}
	return states
}

// movedSQL finds the entities of machine $1 that have moved since a record parked for
// them was judged: the row's version has changed. It returns the first $2 of them after
// key $4, in the order of their keys. A row that has not moved counts too if the record
// waits only because its state was unknown, and the state is one of $3 now. An entity that has
// no row counts too if a version of the machine before $5 has judged the record, or if the
// record waits for a newer version and $6 says that there is none any more. An entity in a
// state of $7 counts too if a version after $5 has judged the record: that version has retired
// the state, and this one has not. One counts too if it waits because its event was unknown, and
// the event is one of $8 now. It skips texts that are not keys, because the key column had
// another type when they were parked. The comparison uses the key column's collation, because an
// index on the key can't be used otherwise, and pawl.parked has a different one.
func (t *table) movedSQL(s *schema) string {
	return fmt.Sprintf(`
SELECT DISTINCT p.entity FROM %[7]s.parked AS p
LEFT JOIN %[1]s AS t ON t.%[2]s = %[4]s%[5]s
WHERE p.machine = $1 AND (t.%[3]s <> p.seen_version OR p.reason = 'unknown_state' AND t.%[6]s::text = ANY ($3::text[]) OR p.definition < $5
		OR $6 AND p.reason = 'newer_definition' OR p.definition > $5 AND t.%[6]s::text = ANY ($7::text[])
		OR p.reason = 'unknown_event' AND EXISTS (SELECT FROM jsonb_array_elements(p.changes) AS c
			WHERE c->>'machine' = p.machine AND c->>'key' = p.entity AND c->>'event' = ANY ($8::text[])))
	AND p.entity > $4
ORDER BY p.entity LIMIT $2`, t.ident, t.key.sqlName(), t.version.sqlName(), t.key.castOrNull("p.entity"), t.key.collate(), t.state.sqlName(), s.quoted)
}

// maxTies limits the parked records that are read for one batch.
const maxTies = 10_000

// readTiesSQL reads the entities of parked records of machines $1 with several changes.
const readTiesSQL pawlSQL = `
SELECT array(SELECT c->>'machine' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n),
       array(SELECT c->>'key' FROM jsonb_array_elements(changes) WITH ORDINALITY AS e(c, n) ORDER BY n)
FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2`

// readCoupledSQL reads the changes of the same records, and of records parked for the
// entities $4 of machines $3 or for other entities of those records.
const readCoupledSQL pawlSQL = `
WITH several AS (
	SELECT changes FROM pawl.parked WHERE jsonb_array_length(changes) > 1 AND machine = ANY ($1) LIMIT $2
), entities AS (
	SELECT u.machine, u.entity FROM unnest($3::text[], $4::text[]) AS u(machine, entity)
	UNION SELECT c->>'machine', c->>'key' FROM several, jsonb_array_elements(changes) AS c
)
SELECT changes FROM several
UNION ALL
SELECT p.changes FROM entities AS e CROSS JOIN LATERAL (
	SELECT changes FROM pawl.parked
	WHERE machine = e.machine AND entity = e.entity AND jsonb_array_length(changes) = 1 LIMIT $2 OFFSET 0
) AS p
WHERE EXISTS (SELECT FROM pawl.parked WHERE machine = ANY ($1)) -- without parked records, look up nothing
LIMIT $2`

// readTies returns the entities of each parked record that has several changes. If
// tables of the store have constraints that tie entities together, it also returns the
// records parked for the entities of the batch, with nothing but their changes.
func (s *snapshot) readTies(ctx context.Context, records []*versioning.Record) (ties [][]versioning.Entity, parked []*versioning.Record, err error) {
	batch := &pgx.Batch{} // sent as one transaction, to which the settings apply
	batch.Queue(settingsSQL)
	batch.Queue(s.schema.sql(readTiesSQL), s.machines(), maxTies+1).Query(func(rows pgx.Rows) error {
		var machines, keys []string
		_, err := pgx.ForEachRow(rows, []any{&machines, &keys}, func() error {
			tie := make([]versioning.Entity, len(keys))
			for i := range keys {
				tie[i] = versioning.Entity{Machine: machines[i], Key: keys[i]}
			}
			ties = append(ties, tie)
			return nil
		})
		return err
	})
	if machines, keys := s.coupledEntities(records); len(keys) > 0 {
		batch.Queue(s.schema.sql(readCoupledSQL), s.machines(), maxTies+1, machines, keys).Query(func(rows pgx.Rows) error {
			var changes []byte
			_, err := pgx.ForEachRow(rows, []any{&changes}, func() error {
				parked = append(parked, &versioning.Record{})
				return s.decodeChanges(parked[len(parked)-1], changes)
			})
			return err
		})
	}
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, nil, err
	}
	if len(ties) > maxTies || len(parked) > maxTies {
		return nil, nil, errInOneList
	}
	return ties, parked, nil
}
