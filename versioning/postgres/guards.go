package postgres

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/pawl-go/pawl/versioning"
)

// notDead guards records to be parked: none is a dead letter.
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

// stepsNotDead guards the records of the batch that made steps: none is a dead letter.
// If another worker makes a record a dead letter, the row that this worker would move
// for it stays as it was.
func (w *writer) stepsNotDead(moves []*versioning.Move) {
	alive := w.made(moves)
	if len(alive) == 0 {
		return
	}
	st := w.store.ranges(alive)
	offsets := make(bigints, len(alive))
	for i, r := range alive {
		offsets[i] = r.Origin.Offset
	}
	w.guarded(0, w.store.schema.sql(stepsNotDeadSQL), []any{st.ids, st.partitions, st.scopes, st.firsts, st.lasts, st.of, offsets, w.store.allMachines()})
}

// stepsNotDeadSQL finds the dead letters in ranges of partitions that have one of the
// offsets $7 of the ranges numbered $6, and the range's scope or $8.
const stepsNotDeadSQL pawlSQL = `
SELECT FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[])
	WITH ORDINALITY AS u(topic_id, partition, scope, first, last, n)
CROSS JOIN LATERAL (
	SELECT d."offset" FROM pawl.dead_letters AS d
	WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" BETWEEN u.first AND u.last AND d.scope IN (u.scope, $8)
	OFFSET 0
) AS d
WHERE (SELECT true FROM unnest($6::integer[], $7::bigint[]) AS a(n, "offset") WHERE a.n = u.n AND a."offset" = d."offset" LIMIT 1)`

// made returns the records that made the steps of moves, in the order of the log. It
// leaves out records that were stored in the database: a dead letter that is judged
// again remains one until the plan is written, and other guards cover parked records.
func (w *writer) made(moves []*versioning.Move) []*versioning.Record {
	records := make([]*versioning.Record, 0, len(moves))
	for _, m := range moves {
		for i := range m.Steps {
			r := m.Steps[i].Record
			if preparedOf(r).kept == nil && !isDead(r) {
				records = append(records, r)
			}
		}
	}
	slices.SortFunc(records, func(a, b *versioning.Record) int {
		if c := cmp.Compare(a.Origin.Partition, b.Origin.Partition); c != 0 {
			return c
		}
		if c := cmp.Compare(a.Origin.Offset, b.Origin.Offset); c != 0 {
			return c
		}
		return bytes.Compare(a.Origin.TopicID[:], b.Origin.TopicID[:])
	})
	return slices.Compact(records)
}

// notApplied guards records to be parked or made dead letters: none has made a step.
func (w *writer) notApplied(records []*versioning.Record) {
	var machines, keys, messages []string
	var at origins
	for _, r := range records {
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
