package postgres

import (
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// ranges are columns of offset ranges in partitions whose records have one scope.
type ranges struct {
	ids           []pgtype.UUID
	partitions    integers
	scopes        texts
	firsts, lasts bigints
	of            integers // for each record, the number of its range, counted from 1
}

// maxGap is the largest gap, in offsets without a record of the batch, that a range may
// contain. For each record of the batch, at most that many dead letters of other records
// are read.
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
