package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

// scope returns what distinguishes stored records of one origin: the machine of the
// record's first change, or all machines of the store if there is no change or its
// machine is unknown. Workers that consume one topic for different machines must not
// mistake each other's dead letters for their own.
func (s *snapshot) scope(r *versioning.Record) string {
	if kept := preparedOf(r).kept; kept != nil && !r.Redrive {
		return *kept
	}
	if len(r.Changes) > 0 && s.byMachine[r.Changes[0].Machine] != nil {
		return r.Changes[0].Machine
	}
	return s.allMachines()
}

// allMachines is the scope of a record that may be for any machine of the store.
func (s *snapshot) allMachines() string {
	return strings.Join(slices.Sorted(slices.Values(s.machines())), ",")
}

// isDeadLetterOf reports whether a dead letter with the record's origin and the given
// scope is the record's own. It is if it has the record's scope, or was stored when the
// record could not be decoded. If the record can't be decoded now, any dead letter is
// that may come from the store's machines.
//
// Earlier versions gave undecodable records no scope. Such a dead letter may belong to
// a worker for other machines, which can't decode the record yet. So it prevents a
// second dead letter for the record, but only a redrive removes it.
func (s *snapshot) isDeadLetterOf(r *versioning.Record, scope string) bool {
	if r.Redrive {
		kept := preparedOf(r).kept
		return kept != nil && scope == *kept
	}
	return scope == s.scope(r) || r.Err != nil || strings.Contains(scope, ",")
}

// deadScope returns the scope of a record's dead letter.
func (s *snapshot) deadScope(r *versioning.Record) string {
	switch p := preparedOf(r); {
	case p.dead != nil:
		return *p.dead
	case r.Redrive && p.kept != nil:
		return *p.kept
	}
	return s.scope(r)
}

// keptAt are columns with the origins and scopes of stored records.
type keptAt struct {
	origins

	scopes []string
}

func (k *keptAt) add(r *versioning.Record, scope string) {
	k.origins.add(r.Origin)
	k.scopes = append(k.scopes, scope)
}

// origins are columns of origins, as parameters for unnest.
type origins struct {
	ids        []pgtype.UUID
	partitions integers
	offsets    bigints
}

func (o *origins) add(at versioning.Origin) {
	o.ids = append(o.ids, pgtype.UUID{Bytes: at.TopicID, Valid: true})
	o.partitions = append(o.partitions, at.Partition)
	o.offsets = append(o.offsets, at.Offset)
}

// fullRecords are columns of complete records, as parameters for unnest.
type fullRecords struct {
	keptAt

	topics     []string
	keys       [][]byte
	values     [][]byte
	headers    []string // JSON
	timestamps []time.Time
}

func (w *fullRecords) add(s *snapshot, r *versioning.Record) {
	w.keptAt.add(r, s.scope(r))
	w.topics = append(w.topics, r.Origin.Topic)
	w.keys = append(w.keys, r.Key)
	w.values = append(w.values, r.Value)
	w.headers = append(w.headers, encodeHeaders(r.Headers))
	w.timestamps = append(w.timestamps, storableTime(r.Timestamp))
}

// storableTime limits a producer's timestamp to what PostgreSQL can store: in Kafka it
// is any 64-bit number.
func storableTime(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 1:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return t
}

// storedHeader is a Header as JSON. A key that PostgreSQL can't store in JSON is stored
// as bytes.
type storedHeader struct {
	Key      string `json:"key,omitempty"`
	KeyBytes []byte `json:"key_base64,omitempty"`
	Value    []byte `json:"value_base64"`
}

func encodeHeaders(headers []versioning.Header) string {
	stored := make([]storedHeader, len(headers))
	for i, h := range headers {
		stored[i].Value = h.Value
		if versioning.StorableText(h.Key) {
			stored[i].Key = h.Key
		} else {
			stored[i].KeyBytes = []byte(h.Key)
		}
	}
	return mustJSON(stored)
}

func decodeHeaders(data []byte) ([]versioning.Header, error) {
	var stored []storedHeader
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("stored headers: %w", err)
	}
	if len(stored) == 0 {
		return nil, nil
	}
	headers := make([]versioning.Header, len(stored))
	for i, h := range stored {
		headers[i] = versioning.Header{Key: h.Key + string(h.KeyBytes), Value: h.Value}
	}
	return headers, nil
}

// remove deletes stored records that are settled, from the scopes that scope returns.
// All of them must exist.
func (w *writer) remove(sql pawlSQL, settled []versioning.Settled, scope func(*versioning.Record) string) {
	var at keptAt
	for _, s := range settled {
		at.add(s.Record, scope(s.Record))
	}
	if len(settled) > 0 {
		w.guarded(len(settled), w.store.schema.sql(sql), []any{at.ids, at.partitions, at.offsets, at.scopes})
	}
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
// contain. Per record of the batch, so many dead letters of other records may be read.
const maxGap = 256

// ranges returns the ranges that contain the records: a few ranges instead of many
// offsets.
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

const defaultLimit = 100

// limitOr returns the limit of a filter, or the default.
func limitOr(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return limit
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
