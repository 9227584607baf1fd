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

// scope is what kept records of one origin are told apart by: the machine of the
// first change, or all machines of the store where there is none that it knows. Workers
// that consume one topic for different machines must not take each other's dead
// letters for their own.
func (s *edition) scope(r *versioning.Record) string {
	if kept := preparedOf(r).kept; kept != nil && !r.Redrive {
		return *kept
	}
	if len(r.Changes) > 0 && s.byMachine[r.Changes[0].Machine] != nil {
		return r.Changes[0].Machine
	}
	return s.allMachines()
}

// allMachines is the scope of a record that could be for any machine of the store.
func (s *edition) allMachines() string {
	return strings.Join(slices.Sorted(slices.Values(s.machines())), ",")
}

// isLetter reports whether a dead letter with the record's origin is that of the record.
// Letters that have the record's scope are, and those from when it could not be decoded;
// and any that the store's machines may have left, if it can't be now.
//
// Earlier versions gave undecodable records no scope. Such a letter may belong to a
// worker for other machines, which can't decode the record yet. So it keeps the record
// from dying twice, and only a redrive removes it.
func (s *edition) isLetter(r *versioning.Record, scope string) bool {
	if r.Redrive {
		return scope == *preparedOf(r).kept
	}
	return scope == s.scope(r) || r.Err != nil || strings.Contains(scope, ",")
}

// letterAt returns the scope of a record's dead letter.
func (w *writer) letterAt(r *versioning.Record) string {
	if scope, ok := w.letters[r.Origin]; ok {
		return scope
	}
	return w.store.scope(r)
}

// keptAt are columns of the origins and scopes of kept records.
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

// wholes are columns of whole records, as parameters for unnest.
type wholes struct {
	keptAt

	topics     []string
	keys       [][]byte
	values     [][]byte
	headers    []string // JSON
	timestamps []time.Time
}

func (w *wholes) add(s *edition, r *versioning.Record) {
	w.keptAt.add(r, s.scope(r))
	w.topics = append(w.topics, r.Origin.Topic)
	w.keys = append(w.keys, r.Key)
	w.values = append(w.values, r.Value)
	w.headers = append(w.headers, encodeHeaders(r.Headers))
	w.timestamps = append(w.timestamps, storableTime(r.Timestamp))
}

// storableTime keeps a producer's time within what PostgreSQL can hold: a
// timestamp is any 64-bit number in Kafka.
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

// storedHeader is a Header as JSON. A key that JSON in PostgreSQL can't hold is
// kept as bytes.
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

// remove deletes kept records that are settled, from the scopes that scope returns. All
// of them have to be there.
func (w *writer) remove(sql pawlSQL, settled []versioning.Settled, scope func(*versioning.Record) string) {
	var at keptAt
	for _, s := range settled {
		at.add(s.Record, scope(s.Record))
	}
	if len(settled) > 0 {
		w.guarded(len(settled), w.store.schema.sql(sql), []any{at.ids, at.partitions, at.offsets, at.scopes})
	}
}

// stretches are columns of stretches of a log, from one offset to another, whose
// records have one scope.
type stretches struct {
	ids           []pgtype.UUID
	partitions    integers
	scopes        texts
	firsts, lasts bigints
	of            integers // for each record, the number of its stretch, from 1 on
}

// maxGap is over how many offsets that no record of the batch is at a stretch goes
// on: for each record of the batch, so many dead letters of others may be read.
const maxGap = 256

// stretches returns those that the records come from: few, in place of many
// offsets.
func (s *edition) stretches(records []*versioning.Record) *stretches {
	type logOf struct {
		topicID   [16]byte
		partition int32
		scope     string
	}
	st := &stretches{of: make(integers, 0, len(records))}
	open := make(map[logOf]int)
	var last logOf // which i is of
	i, ok := 0, false
	var machine, scope string // of the record before
	for _, r := range records {
		switch {
		case preparedOf(r).kept != nil || len(r.Changes) == 0:
			machine, scope = "", s.scope(r)
		case machine != r.Changes[0].Machine || machine == "":
			machine, scope = r.Changes[0].Machine, s.scope(r)
		}
		at := &r.Origin
		name := logOf{at.TopicID, at.Partition, scope}
		if r.Redrive {
			name.scope = *preparedOf(r).kept
		}
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

// limitOr returns the limit of a filter, or that of its zero value.
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
