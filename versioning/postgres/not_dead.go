package postgres

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// stepsNotDead checks that none of the batch's records that made steps is a dead letter.
// The guarded writes of the rows do not notice if another worker has made a record a
// dead letter, because that moves no row. If nothing was read, it checks all records of the
// batch, for all dead letters that would have been read.
func (w *writer) stepsNotDead(c *script) {
	var sql string
	var alive []*versioning.Record
	var machines any
	if c.blind == nil {
		sql, machines, alive = w.store.schema.sql(stepsNotDeadSQL), w.store.allMachines(), w.made(c.moves)
	} else {
		sql, machines = w.store.schema.sql(noneDeadSQL), w.store.machines()
		alive = slices.DeleteFunc(slices.Clone(c.blind.records), neverDead)
	}
	if len(alive) == 0 {
		return
	}
	st := w.store.ranges(alive)
	offsets := make(bigints, len(alive))
	for i, r := range alive {
		offsets[i] = r.Origin.Offset
	}
	w.guarded(0, sql, []any{st.ids, st.partitions, st.scopes, st.firsts, st.lasts, st.of, offsets, machines})
}

// stepsNotDeadSQL finds the dead letters in ranges of partitions that have one of the
// offsets $7 of the ranges numbered $6, and the range's scope or $8. noneDeadSQL finds those
// whose scope is the range's, or names only machines of $8.
const (
	stepsNotDeadSQL pawlSQL = deadOfSQL + `d.scope IN (u.scope, $8)` + amongSQL
	noneDeadSQL     pawlSQL = deadOfSQL + `(d.scope = u.scope OR string_to_array(d.scope, ',') <@ $8::text[])` + amongSQL

	deadOfSQL pawlSQL = `
SELECT FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[])
	WITH ORDINALITY AS u(topic_id, partition, scope, first, last, n)
CROSS JOIN LATERAL (
	SELECT d."offset" FROM pawl.dead_letters AS d
	WHERE d.topic_id = u.topic_id AND d.partition = u.partition AND d."offset" BETWEEN u.first AND u.last AND `
	amongSQL pawlSQL = `
	OFFSET 0
) AS d
WHERE (SELECT true FROM unnest($6::integer[], $7::bigint[]) AS a(n, "offset") WHERE a.n = u.n AND a."offset" = d."offset" LIMIT 1)`
)

// made returns the records that made the steps of moves, in the order of the log. It
// leaves out records that were stored in the database: a dead letter that is judged
// again remains one until the plan is written, and other guards cover parked records.
func (w *writer) made(moves []*versioning.Move) []*versioning.Record {
	records := make([]*versioning.Record, 0, len(moves))
	for _, m := range moves {
		for i := range m.Steps {
			r := m.Steps[i].Record
			if preparedOf(r).kept == nil && !isDead(r) && !neverDead(r) {
				records = append(records, r)
			}
		}
	}
	slices.SortFunc(records, func(a, b *versioning.Record) int {
		return cmp.Or(cmp.Compare(a.Origin.Partition, b.Origin.Partition), cmp.Compare(a.Origin.Offset, b.Origin.Offset),
			bytes.Compare(a.Origin.TopicID[:], b.Origin.TopicID[:]))
	})
	return slices.Compact(records)
}

// ranges are columns of offset ranges in partitions whose records have one scope.
type ranges struct {
	ids           []pgtype.UUID
	partitions    integers
	scopes        texts
	firsts, lasts bigints
	of            integers // for each record, the number of its range, counted from 1
}

// maxGap is the largest gap, in offsets without a record of the batch, that a range may
// contain. It limits how many dead letters of other records are read.
const maxGap = 256

// ranges returns the ranges that contain the records. A statement then takes a few
// ranges instead of many offsets.
func (s *snapshot) ranges(records []*versioning.Record) *ranges {
	type logOf struct {
		topicID   [16]byte
		partition int32
		scope     string
	}
	st := &ranges{of: make(integers, 0, len(records))}
	open := make(map[logOf]int)
	var last logOf // the key of range i
	i, ok := 0, false
	var machine, scope string // of the previous record
	for _, r := range records {
		switch {
		case preparedOf(r).kept != nil || len(r.Changes) == 0:
			machine, scope = "", s.deadScope(r)
		case machine != r.Changes[0].Machine || machine == "":
			machine, scope = r.Changes[0].Machine, s.scope(r)
		}
		at := &r.Origin
		name := logOf{at.TopicID, at.Partition, scope}
		if !ok || name != last {
			last = name
			i, ok = open[name]
		}
		if ok && st.firsts[i] <= at.Offset && at.Offset <= st.lasts[i]+maxGap {
			st.lasts[i] = max(st.lasts[i], at.Offset)
			st.of = append(st.of, int32(i)+1)
			continue
		}
		i, ok = len(st.ids), true
		st.of = append(st.of, int32(i)+1)
		open[name] = i
		st.ids = append(st.ids, pgtype.UUID{Bytes: at.TopicID, Valid: true})
		st.partitions = append(st.partitions, at.Partition)
		st.scopes = append(st.scopes, name.scope)
		st.firsts, st.lasts = append(st.firsts, at.Offset), append(st.lasts, at.Offset)
	}
	return st
}
