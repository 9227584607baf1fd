package postgres

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/versioning"
)

// readDead queues the query that finds which records are already dead letters.
func (r *reader) readDead(batch *pgx.Batch, records []*versioning.Record) {
	if slices.ContainsFunc(records, neverDead) {
		if records = slices.DeleteFunc(slices.Clone(records), neverDead); len(records) == 0 {
			return
		}
	}
	for _, rec := range records {
		if isDead(rec) { // in an earlier attempt
			own(rec).dead = nil
		}
	}
	st := r.store.ranges(records)
	args := []any{st.ids, st.partitions, st.scopes, st.firsts, st.lasts, r.store.machines()}
	batch.Queue(r.store.schema.sql(readDeadSQL), args...).Query(func(rows pgx.Rows) error {
		return r.scanDead(rows, records)
	})
}

// neverDead reports whether a record can't be a dead letter before it is judged: its caller waits
// for its verdict, or it is of a timer, which is removed when it becomes a dead letter.
func neverDead(r *versioning.Record) bool { return r.Direct || r.IsTimer() && !r.Redrive }

// readDeadSQL reads the dead letters in ranges of partitions whose scope is the given
// one, or names only machines of $6.
const readDeadSQL pawlSQL = `
SELECT d.topic_id, d.partition, d."offset", d.scope, d.verdict, d.reason, d.detail, d.machine, d.entity, d.event
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[]) AS u(topic_id, partition, scope, first, last)
CROSS JOIN LATERAL (
	SELECT * FROM pawl.dead_letters AS d
	WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" BETWEEN u.first AND u.last
		AND (d.scope = u.scope OR string_to_array(d.scope, ',') <@ $6::text[])
	OFFSET 0
) AS d`

func (r *reader) scanDead(rows pgx.Rows, records []*versioning.Record) error {
	type letter struct {
		scope   string
		outcome versioning.Outcome
	}
	dead := make(map[versioning.Origin][]letter) // several at one place are of several machines, or of several versions of Pawl
	var at versioning.Origin                     // without the topic's name
	var l letter
	var verdict string
	o := &l.outcome
	into := []any{&at.TopicID, &at.Partition, &at.Offset, &l.scope, &verdict, &o.Reason, &o.Detail, &o.Entity.Machine, &o.Entity.Key, &o.Event}
	_, err := pgx.ForEachRow(rows, into, func() error {
		o.Verdict = versioning.ParseVerdict(verdict)
		dead[at] = append(dead[at], l)
		return nil
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	for _, rec := range records {
		at := rec.Origin
		at.Topic = ""
		for _, l := range dead[at] {
			if r.store.isDeadLetterOf(rec, l.scope) && (!isDead(rec) || l.scope == r.store.scope(rec)) {
				r.view.Dead[rec.Origin], own(rec).dead = l.outcome, &l.scope
			}
		}
	}
	return nil
}

// deadLetter stores records as dead letters, and removes them from the parked records
// if they were parked. Those that were dead letters before, and were judged again
// without success, get the new outcome.
func (w *writer) deadLetter(dead []versioning.Settled) {
	var at origins
	var added fullRecords
	var again keptAt
	var first, second outcomes
	for _, d := range dead {
		at.add(d.Record.Origin)
		if isDead(d.Record) {
			again.add(d.Record, w.store.deadScope(d.Record))
			second.add(w.store, d.Outcome)
		} else {
			added.add(w.store, d.Record)
			first.add(w.store, d.Outcome)
		}
	}
	if len(dead) > 0 {
		w.batch.Queue(w.store.schema.sql(unparkSQL), at.ids, at.partitions, at.offsets, w.store.machines())
	}
	if o := first; len(added.ids) > 0 {
		w.batch.Queue(w.store.schema.sql(insertDeadSQL), added.ids, added.partitions, added.offsets, added.scopes, added.topics,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events, added.keys, added.values, added.headers, added.timestamps, o.definitions)
	}
	if o := second; len(again.ids) > 0 {
		w.guarded(len(again.ids), w.store.schema.sql(updateDeadSQL), []any{
			again.ids, again.partitions, again.offsets, again.scopes,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events, o.definitions,
		})
	}
}

// insertDeadSQL leaves an existing dead letter unchanged: its record was redelivered.
const insertDeadSQL pawlSQL = `
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
                               machine, entity, event, key, value, headers, "timestamp", definition)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::jsonb[], $15::timestamptz[], $16::integer[])
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

// updateDeadSQL is guarded: if a dead letter is gone, another worker has redriven it, and
// it must not come back.
const updateDeadSQL pawlSQL = `
UPDATE pawl.dead_letters AS d
SET verdict = u.verdict, reason = u.reason, detail = u.detail, machine = u.machine, entity = u.entity, event = u.event,
    attempts = d.attempts + 1, definition = u.definition
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::integer[])
	AS u(topic_id, partition, "offset", scope, verdict, reason, detail, machine, entity, event, definition)
WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" = u."offset" AND d.scope = u.scope
RETURNING true`

const deleteDeadSQL pawlSQL = `
DELETE FROM pawl.dead_letters AS d
USING unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" = u."offset" AND d.scope = u.scope
RETURNING true`

// outcomes are columns of outcomes, as parameters for unnest.
type outcomes struct {
	verdicts, reasons, details, machines, entities, events []string
	definitions                                            integers
}

func (c *outcomes) add(s *snapshot, o versioning.Outcome) {
	c.verdicts = append(c.verdicts, o.Verdict.String())
	c.reasons = append(c.reasons, string(o.Reason))
	c.details = append(c.details, textFor(o.Detail))
	c.machines = append(c.machines, textFor(o.Entity.Machine))
	c.entities = append(c.entities, textFor(o.Entity.Key))
	c.events = append(c.events, textFor(string(o.Event)))
	definition := 0
	if t, ok := s.byMachine[o.Entity.Machine]; ok {
		definition = t.Machine.Version()
	}
	c.definitions = append(c.definitions, int32(definition))
}

// maxDetailBytes limits the detail of a dead letter.
const maxDetailBytes = 4096

// textFor replaces what PostgreSQL can't store in a text from a message.
func textFor(s string) string {
	if len(s) > maxDetailBytes {
		s = s[:maxDetailBytes]
	}
	if versioning.StorableText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// notDead checks that none of the records to be parked is a dead letter.
func (w *writer) notDead(parked []versioning.Parked) {
	var at keptAt
	for _, p := range parked {
		if !isDead(p.Record) { // otherwise the plan removes the dead letter
			at.add(p.Record, w.store.scope(p.Record))
		}
	}
	if n := len(at.scopes); n > 0 {
		w.guarded(n, w.store.schema.sql(notDeadSQL), []any{at.ids, at.partitions, at.offsets, at.scopes, w.store.allMachines()})
	}
}

const notDeadSQL pawlSQL = `
SELECT FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[]) AS u(topic_id, partition, "offset", scope)
WHERE (SELECT true FROM pawl.dead_letters AS d
       WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" = u."offset" AND d.scope IN (u.scope, $5)
       LIMIT 1) IS NULL`
