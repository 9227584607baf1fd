package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// readDead queues the query that finds which records are already dead letters.
func (r *reader) readDead(batch *pgx.Batch, records []*versioning.Record) {
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
	type place struct {
		topicID   [16]byte
		partition int32
		offset    int64
	}
	type letter struct {
		scope   string
		outcome versioning.Outcome
	}
	var at place
	var scope, verdict, reason, detail, machine, entity, event string
	dead := make(map[place][]letter) // several at one place are of several machines, or of several versions of Pawl
	into := []any{&at.topicID, &at.partition, &at.offset, &scope, &verdict, &reason, &detail, &machine, &entity, &event}
	_, err := pgx.ForEachRow(rows, into, func() error {
		dead[at] = append(dead[at], letter{scope, versioning.Outcome{
			Verdict: versioning.ParseVerdict(verdict), Reason: versioning.Reason(reason), Detail: detail,
			Entity: versioning.Entity{Machine: machine, Key: entity}, Event: statemachine.Event(event),
		}})
		return nil
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	for _, rec := range records {
		for _, l := range dead[place{rec.Origin.TopicID, rec.Origin.Partition, rec.Origin.Offset}] {
			if r.store.isDeadLetterOf(rec, l.scope) && (!isDead(rec) || l.scope == r.store.scope(rec)) {
				r.view.Dead[rec.Origin], own(rec).dead = l.outcome, &l.scope
			}
		}
	}
	return nil
}

// deadLetter stores records as dead letters, and removes them from the parked records
// if they were parked.
func (w *writer) deadLetter(dead []versioning.Settled) {
	var at origins
	for _, d := range dead {
		at.add(d.Record.Origin)
	}
	if len(dead) > 0 {
		w.batch.Queue(w.store.schema.sql(unparkSQL), at.ids, at.partitions, at.offsets, w.store.machines())
	}
	isOld := func(s versioning.Settled) bool { return isDead(s.Record) }
	isNew := func(s versioning.Settled) bool { return !isOld(s) }
	w.insertDead(slices.DeleteFunc(slices.Clone(dead), isOld))
	w.updateDead(slices.DeleteFunc(slices.Clone(dead), isNew))
}

func (w *writer) insertDead(dead []versioning.Settled) {
	var whole fullRecords
	var o outcomes
	for _, d := range dead {
		whole.add(w.store, d.Record)
		o.add(d.Outcome)
	}
	if len(dead) > 0 {
		w.batch.Queue(w.store.schema.sql(insertDeadSQL), whole.ids, whole.partitions, whole.offsets, whole.scopes, whole.topics,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events,
			whole.keys, whole.values, whole.headers, whole.timestamps)
	}
}

// insertDeadSQL leaves an existing dead letter unchanged: its record was redelivered.
const insertDeadSQL pawlSQL = `
INSERT INTO pawl.dead_letters (topic_id, partition, "offset", scope, topic, verdict, reason, detail,
                               machine, entity, event, key, value, headers, "timestamp")
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::jsonb[], $15::timestamptz[])
ON CONFLICT (topic_id, partition, "offset", scope) DO NOTHING`

// updateDead stores the new outcomes of dead letters that were judged again without
// success. If one is gone, another worker has redriven it, and it must not come back.
func (w *writer) updateDead(dead []versioning.Settled) {
	var at keptAt
	var o outcomes
	for _, d := range dead {
		at.add(d.Record, w.store.deadScope(d.Record))
		o.add(d.Outcome)
	}
	if len(dead) > 0 {
		w.guarded(len(dead), w.store.schema.sql(updateDeadSQL), []any{
			at.ids, at.partitions, at.offsets, at.scopes,
			o.verdicts, o.reasons, o.details, o.machines, o.entities, o.events,
		})
	}
}

// updateDeadSQL stores the new outcome of a dead letter that was judged again without
// success.
const updateDeadSQL pawlSQL = `
UPDATE pawl.dead_letters AS d
SET verdict = u.verdict, reason = u.reason, detail = u.detail, machine = u.machine, entity = u.entity, event = u.event,
    attempts = d.attempts + 1
FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[])
	AS u(topic_id, partition, "offset", scope, verdict, reason, detail, machine, entity, event)
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
}

func (c *outcomes) add(o versioning.Outcome) {
	c.verdicts = append(c.verdicts, o.Verdict.String())
	c.reasons = append(c.reasons, string(o.Reason))
	c.details = append(c.details, textFor(o.Detail))
	c.machines = append(c.machines, textFor(o.Entity.Machine))
	c.entities = append(c.entities, textFor(o.Entity.Key))
	c.events = append(c.events, textFor(string(o.Event)))
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

// A DeadLetterFilter selects dead letters. The zero value selects all. All fields that
// are set must match.
type DeadLetterFilter struct {
	IDs     []int64
	Reason  versioning.Reason
	Machine string
	Key     string // of the entity
	Topic   string
	From    time.Time // became a dead letter at this time or later
	To      time.Time // became a dead letter before this time

	// After skips dead letters with this ID or a lower one, and Limit limits how many
	// are returned: use them to page through a long list. Limit 0 means 100.
	After int64
	Limit int
}

// DeadLetters returns the dead letters that match, in ascending order of ID.
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]versioning.DeadLetter, error) {
	rows, err := s.pool.Query(ctx, s.schema.sql(listDeadSQL), oneMessage, f.IDs, string(f.Reason), f.Machine, f.Key, f.Topic,
		orNil(f.From), orNil(f.To), f.After, limitOr(f.Limit))
	if err != nil {
		return nil, withCause(fmt.Errorf("list dead letters: %w", err))
	}
	deadLetters, err := collectDeadLetters(rows)
	if err != nil {
		return nil, withCause(fmt.Errorf("list dead letters: %w", err))
	}
	return deadLetters, nil
}

const deadColumns pawlSQL = `
SELECT d.id, d.topic, d.topic_id, d.partition, d."offset", d.scope, d.verdict, d.reason, d.detail, d.machine, d.entity,
       d.event, d.attempts, d.died_at, d.key, d.value, d.headers, d."timestamp"
FROM pawl.dead_letters AS d`

// $1 IDs, $2 reason, $3 machine, $4 entity, $5 topic, $6 from, $7 to, $8 after, $9 limit
const listDeadSQL pawlSQL = deadColumns + `
WHERE ($1::bigint[] IS NULL OR d.id = ANY ($1)) AND ($2 = '' OR d.reason = $2) AND ($3 = '' OR d.machine = $3)
  AND ($4 = '' OR d.entity = $4) AND ($5 = '' OR d.topic = $5)
  AND ($6::timestamptz IS NULL OR d.died_at >= $6) AND ($7::timestamptz IS NULL OR d.died_at < $7) AND d.id > $8
ORDER BY d.id LIMIT $9`

func collectDeadLetters(rows pgx.Rows) ([]versioning.DeadLetter, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (versioning.DeadLetter, error) {
		l := versioning.DeadLetter{Record: &versioning.Record{}}
		r := l.Record
		var headers []byte
		var scope, verdict string
		err := row.Scan(&l.ID, &r.Origin.Topic, &r.Origin.TopicID, &r.Origin.Partition, &r.Origin.Offset,
			&scope, &verdict, &l.Outcome.Reason, &l.Outcome.Detail, &l.Outcome.Entity.Machine, &l.Outcome.Entity.Key,
			&l.Outcome.Event, &l.Attempts, &l.DiedAt, &r.Key, &r.Value, &headers, &r.Timestamp)
		if err != nil {
			return l, err
		}
		keptAs(r, scope)
		l.Outcome.Verdict = versioning.ParseVerdict(verdict)
		r.Headers, err = decodeHeaders(headers)
		return l, err
	})
}
