package postgres

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// firstSteps is the number of an entity's first steps whose messages are all read, by
// the primary key, usually in the query that reads its row. (The statements contain the
// number as a literal.) Messages of later steps are looked up one by one. The index for
// that covers only later steps, so the planner uses it only if the condition says so.
const firstSteps = 16

// readFirstSQL reads the messages of the first steps of the entities $2.
const readFirstSQL pawlSQL = `
SELECT entity, message_id, coalesce(digest, 0) FROM pawl.transitions WHERE entity = ANY ($2::text[]) AND machine = $1 AND version <= 16`

// readBeyondSQL reads the later steps that the messages $3 of the entities $2 made.
const readBeyondSQL pawlSQL = `
SELECT u.entity, u.message_id, coalesce(h.digest, 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS message_id OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT digest FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > 16 AND message_id = u.message_id OFFSET 0
) AS h`

const readStepsSQL pawlSQL = `
SELECT u.key, u.version, h.event, h.message_id, h.topic, h.topic_id, h.partition, h."offset", coalesce(h.digest, 0)
FROM unnest($2::text[], $3::bigint[]) AS u(key, version)
CROSS JOIN LATERAL (
	SELECT event, message_id, topic, topic_id, partition, "offset", digest FROM pawl.transitions
	WHERE machine = $1 AND entity = u.key AND version = u.version OFFSET 0
) AS h`

// readEnteredSQL reads, for each of the entities $2, into which state the step led that armed a
// timer at one of the versions $3, and when it has last entered a state after that: 0 if it
// has not.
const readEnteredSQL pawlSQL = `
SELECT u.entity, u.armed, coalesce((
	SELECT to_state FROM pawl.transitions WHERE entity = u.entity AND machine = $1 AND version = u.armed
), ''), coalesce((
	SELECT version FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > u.armed AND from_state <> to_state
	ORDER BY version DESC LIMIT 1
), 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::bigint[]) AS armed OFFSET 0) AS u`

// queuePast queues the lookups of one machine.
func (r *reader) queuePast(batch *pgx.Batch, machine string, p *questions) {
	messages := func(rows pgx.Rows) error { return r.scanMessages(rows, machine) }
	if len(p.first) > 0 {
		batch.Queue(r.store.schema.sql(readFirstSQL), machine, p.first).Query(messages)
	}
	if len(p.keys) > 0 {
		batch.Queue(r.store.schema.sql(readBeyondSQL), machine, p.keys, p.messages).Query(messages)
	}
	if len(p.moved) > 0 {
		batch.Queue(r.store.schema.sql(readStepsSQL), machine, p.moved, p.versions).Query(func(rows pgx.Rows) error {
			return r.scanSteps(rows, machine, func(k *versioning.Known, version int64, s versioning.PastStep) {
				if k.Steps == nil {
					k.Steps = make(map[int64]versioning.PastStep)
				}
				k.Steps[version] = s
			})
		})
	}
	if len(p.timed) > 0 {
		batch.Queue(r.store.schema.sql(readEnteredSQL), machine, p.timed, p.armed).Query(func(rows pgx.Rows) error { return r.scanEntered(rows, machine) })
		batch.Queue(r.store.schema.sql(readRearmedSQL), machine, p.timed, p.events).Query(func(rows pgx.Rows) error { return r.scanRearmed(rows, machine) })
	}
}

func (r *reader) scanEntered(rows pgx.Rows, machine string) error {
	var key string
	var armed, entered int64
	var in statemachine.State
	_, err := pgx.ForEachRow(rows, []any{&key, &armed, &in, &entered}, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		if entered == 0 && in != "" && in != k.Row.State {
			entered = armed + 1 // or later: another writer has changed the state, which leaves no history
		}
		k.Entered = max(k.Entered, entered)
		return nil
	})
	return err
}

func (r *reader) scanMessages(rows pgx.Rows, machine string) error {
	var key, id string
	var digest versioning.Digest
	_, err := pgx.ForEachRow(rows, []any{&key, &id, (*int64)(&digest)}, func() error {
		r.view.Entities[versioning.Entity{Machine: machine, Key: key}].Messages.Add(id, digest)
		return nil
	})
	return err
}

// scanSteps passes the steps of entities to add.
func (r *reader) scanSteps(rows pgx.Rows, machine string, add func(k *versioning.Known, version int64, s versioning.PastStep)) error {
	var key string
	var version int64
	var s versioning.PastStep
	into := []any{&key, &version, &s.Event, &s.MessageID, &s.Origin.Topic, &s.Origin.TopicID, &s.Origin.Partition, &s.Origin.Offset, (*int64)(&s.Digest)}
	_, err := pgx.ForEachRow(rows, into, func() error {
		add(r.view.Entities[versioning.Entity{Machine: machine, Key: key}], version, s)
		return nil
	})
	return err
}

// readSendersSQL reads all steps that the messages $3 of the entities $2 made.
const readSendersSQL pawlSQL = `
SELECT u.entity, h.version, h.event, u.message_id, h.topic, h.topic_id, h.partition, h."offset", coalesce(h.digest, 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS message_id OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version <= 16 AND message_id = u.message_id
	UNION ALL
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > 16 AND message_id = u.message_id
	OFFSET 0
) AS h`

func (r *reader) queueSenders(batch *pgx.Batch, machine string, p *questions) {
	batch.Queue(r.store.schema.sql(readSendersSQL), machine, p.keys, p.messages).Query(func(rows pgx.Rows) error {
		return r.scanSteps(rows, machine, func(k *versioning.Known, _ int64, s versioning.PastStep) {
			k.ByMessage[s.MessageID] = append(k.ByMessage[s.MessageID], s)
		})
	})
}

// steps are columns of the history, for steps that share all other columns.
type steps struct {
	entities, events, from, to, messages texts
	versions, offsets, digests           bigints
	partitions                           integers
}

// history queues the steps of all moves. The steps of one machine by records of one
// topic share a statement, so what they have in common is sent only once.
func (w *writer) history(moves []*versioning.Move) {
	type shared struct {
		machine, topic string
		topicID        [16]byte
	}
	all := make(map[shared]*steps)
	var order []shared
	var name shared // of s, where the last step went; the next step usually goes there too
	var s *steps
	for _, m := range moves {
		for j := range m.Steps {
			step := &m.Steps[j]
			origin := &step.Record.Origin
			if now := (shared{m.Entity.Machine, origin.Topic, origin.TopicID}); s == nil || now != name {
				name = now
				if s = all[name]; s == nil {
					s = &steps{}
					if len(all) == 0 { // usually all steps are like the first one
						s = newSteps(moves)
					}
					all[name], order = s, append(order, name)
				}
			}
			s.entities = append(s.entities, m.Entity.Key)
			s.versions = append(s.versions, step.Version)
			s.events = append(s.events, string(step.Event))
			s.from = append(s.from, string(step.From))
			s.to = append(s.to, string(step.To))
			s.messages = append(s.messages, step.Record.Changes[step.Change].MessageID)
			s.digests = append(s.digests, int64(step.Digest()))
			s.partitions = append(s.partitions, origin.Partition)
			s.offsets = append(s.offsets, origin.Offset)
		}
	}
	for _, name := range order {
		s := all[name]
		definition := int32(w.store.rules[name.machine].Machine.Version())
		sql, args := w.store.schema.sql(insertHistorySQL), []any{
			name.machine, definition, name.topic,
			pgtype.UUID{Bytes: name.topicID, Valid: true},
			s.partitions, s.offsets, s.entities, s.versions, s.events, s.from, s.to, s.messages, s.digests,
		}
		if w.store.hashed {
			sql, args = w.store.schema.sql(insertHashedSQL), append(args, hashesOf(s.messages))
		}
		w.batch.Queue(sql, args...)
	}
}

// insertHistorySQL writes steps of machine $1, in version $2 of its definition, made by
// records of topic $3 with the ID $4. insertHashedSQL also writes the hashes of their messages.
const (
	insertHistorySQL = insertSQL + `)` + stepsSQL
	insertHashedSQL  = insertSQL + `, message_hash)` + stepsSQL + `, pg_catalog.unnest($14::integer[])`

	insertSQL pawlSQL = `
INSERT INTO pawl.transitions (machine, definition_version, topic, topic_id, partition, "offset",
                              entity, version, event, from_state, to_state, message_id, digest`

	stepsSQL pawlSQL = `
SELECT $1::text, $2::integer, $3::text, $4::uuid, pg_catalog.unnest($5::integer[]), pg_catalog.unnest($6::bigint[]),
       pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::bigint[]), pg_catalog.unnest($9::text[]), pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::text[]), pg_catalog.unnest($12::text[]),
       pg_catalog.unnest($13::bigint[])`
)

// newSteps allocates room for the steps of moves.
func newSteps(moves []*versioning.Move) *steps {
	n := 0
	for _, m := range moves {
		n += len(m.Steps)
	}
	return &steps{
		entities: make(texts, 0, n), events: make(texts, 0, n), from: make(texts, 0, n), to: make(texts, 0, n),
		messages: make(texts, 0, n), versions: make(bigints, 0, n), offsets: make(bigints, 0, n), digests: make(bigints, 0, n), partitions: make(integers, 0, n),
	}
}

// notApplied checks that none of n records, to be parked or made dead letters, has made a
// step.
func (w *writer) notApplied(n int, record func(i int) *versioning.Record) {
	var machines, keys, messages []string
	var at origins
	for i := range n {
		r := record(i)
		if r.Redrive || r.Err != nil {
			continue
		}
		for _, c := range r.Changes {
			for _, id := range c.MessageIDs() {
				machines, keys, messages = append(machines, c.Machine), append(keys, c.Key), append(messages, id)
				at.add(r.Origin)
			}
		}
	}
	if n := len(keys); n > 0 {
		w.guarded(n, w.store.schema.sql(notAppliedSQL), []any{machines, keys, messages, at.ids, at.partitions, at.offsets})
	}
}

const notAppliedSQL pawlSQL = `
SELECT FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::integer[], $6::bigint[])
	AS u(machine, entity, message_id, topic_id, partition, "offset")
WHERE coalesce(
	(SELECT true FROM pawl.transitions AS h
	 WHERE h.entity = u.entity AND h.machine = u.machine AND h.version <= 16 AND h.message_id = u.message_id
	   AND h.topic_id = u.topic_id AND h.partition = u.partition AND h."offset" = u."offset" LIMIT 1),
	(SELECT true FROM pawl.transitions AS h
	 WHERE h.entity = u.entity AND h.machine = u.machine AND h.version > 16 AND h.message_id = u.message_id
	   AND h.topic_id = u.topic_id AND h.partition = u.partition AND h."offset" = u."offset" LIMIT 1)) IS NULL`
