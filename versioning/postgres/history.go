package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// firstSteps is how many first steps of an entity have all their messages read, by the
// primary key, usually in the same query as its row. (The statements contain the number
// as a literal.) Messages of later steps are looked up one by one. The index for that
// covers only later steps, so the planner uses it only if the condition says so.
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

// questions are the lookups in the history of one machine.
type questions struct {
	first          texts // entities: look up the messages of their first steps
	keys, messages texts // entities and messages: look up whether the message made a later step
	moved          texts // entities and versions: look up the step to that version
	versions       bigints
}

// readPast looks up the messages and expected versions of records in the history, as
// far as the rows and what was read with them do not decide.
func (r *reader) readPast(ctx context.Context, records []*versioning.Record) error {
	if !r.askHistory && len(r.view.Parked) == 0 {
		return nil
	}
	asked := make(map[string]*questions)
	for _, t := range r.store.tables {
		asked[t.Machine.Name()] = &questions{}
	}
	known := r.known // in the order of the changes, which saves map lookups
	for _, rec := range records {
		for i := range changesOf(rec) {
			r.askPast(asked, known[0], &rec.Changes[i])
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			r.askPast(asked, r.view.Entities[p.Record.Entity(i)], &p.Record.Changes[i])
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		r.queuePast(batch, t.Machine.Name(), asked[t.Machine.Name()])
	}
	return r.send(ctx, batch)
}

// askPast adds the lookups that a change of an entity needs.
func (r *reader) askPast(asked map[string]*questions, k *versioning.Known, c *versioning.Change) {
	if k == nil || !k.Exists && !k.Row.Gone {
		return
	}
	p := asked[c.Machine]
	if expected, versioned := c.Expected.Version(); versioned && expected < k.Row.Version {
		p.moved, p.versions = append(p.moved, c.Key), append(p.versions, expected+1)
	}
	if !r.byMessage(c) {
		return
	}
	had := r.past(k)
	if !had.hasFirst {
		*had = past{hasFirst: true, hasMore: true}
		p.first = append(p.first, c.Key)
	}
	if had.hasMore {
		for _, id := range c.MessageIDs() {
			p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
		}
	}
}

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
			return r.scanSteps(rows, machine)
		})
	}
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

func (r *reader) scanSteps(rows pgx.Rows, machine string) error {
	var key string
	var version int64
	var step versioning.PastStep
	into := append([]any{&key, &version, &step.Event, &step.MessageID}, senderOf(&step)...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		if k.Steps == nil {
			k.Steps = make(map[int64]versioning.PastStep)
		}
		k.Steps[version] = step
		return nil
	})
	return err
}

// senderOf returns the scan targets for the origin and digest of a step.
func senderOf(s *versioning.PastStep) []any {
	return []any{&s.Origin.Topic, &s.Origin.TopicID, &s.Origin.Partition, &s.Origin.Offset, (*int64)(&s.Digest)}
}

// readSenders looks up who sent the messages of the records whose IDs are known with
// different digests. There are usually none.
func (r *reader) readSenders(ctx context.Context, records []*versioning.Record) error {
	asked := make(map[string]*questions)
	known := r.known
	for _, rec := range records {
		for i := range changesOf(rec) {
			if k := known[0]; k != nil && !k.Messages.IsEmpty() {
				r.askSenders(asked, k, rec, i)
			}
			known = known[1:]
		}
	}
	for _, p := range r.view.Parked {
		for i := range changesOf(p.Record) {
			r.askSenders(asked, r.view.Entities[p.Record.Entity(i)], p.Record, i)
		}
	}
	batch := &pgx.Batch{}
	for _, t := range r.store.tables {
		machine := t.Machine.Name()
		if p := asked[machine]; p != nil {
			batch.Queue(r.store.schema.sql(readSendersSQL), machine, p.keys, p.messages).Query(func(rows pgx.Rows) error {
				return r.scanSenders(rows, machine)
			})
		}
	}
	return r.send(ctx, batch)
}

// readSendersSQL reads all steps that the messages $3 of the entities $2 made.
const readSendersSQL pawlSQL = `
SELECT u.entity, u.message_id, h.event, h.topic, h.topic_id, h.partition, h."offset", coalesce(h.digest, 0)
FROM (SELECT pg_catalog.unnest($2::text[]) AS entity, pg_catalog.unnest($3::text[]) AS message_id OFFSET 0) AS u
CROSS JOIN LATERAL (
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version <= 16 AND message_id = u.message_id
	UNION ALL
	SELECT * FROM pawl.transitions
	WHERE entity = u.entity AND machine = $1 AND version > 16 AND message_id = u.message_id
	OFFSET 0
) AS h`

// askSenders adds the lookup of a change's message, if it needs one.
func (r *reader) askSenders(asked map[string]*questions, k *versioning.Known, rec *versioning.Record, change int) {
	c := &rec.Changes[change]
	if k == nil || !r.byMessage(c) {
		return
	}
	for _, id := range c.MessageIDs() {
		if k.Messages.Asked(id, rec.Digest(change)) || !k.Messages.Has(id) {
			continue
		}
		if _, already := k.ByMessage[id]; already {
			continue
		}
		if k.ByMessage == nil {
			k.ByMessage = make(map[string][]versioning.PastStep)
		}
		k.ByMessage[id] = nil
		if asked[c.Machine] == nil {
			asked[c.Machine] = &questions{}
		}
		p := asked[c.Machine]
		p.keys, p.messages = append(p.keys, c.Key), append(p.messages, id)
	}
}

func (r *reader) scanSenders(rows pgx.Rows, machine string) error {
	var key string
	var step versioning.PastStep
	into := append([]any{&key, &step.MessageID, &step.Event}, senderOf(&step)...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		k := r.view.Entities[versioning.Entity{Machine: machine, Key: key}]
		k.ByMessage[step.MessageID] = append(k.ByMessage[step.MessageID], step)
		return nil
	})
	return err
}
