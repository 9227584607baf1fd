package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/versioning"
)

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

// remove deletes the stored records, with the scopes that scope returns, of records that
// got a verdict. It fails with errMoved unless all of them exist.
func (w *writer) remove(sql pawlSQL, settled []versioning.Settled, scope func(*versioning.Record) string) {
	var at keptAt
	for _, s := range settled {
		at.add(s.Record, scope(s.Record))
	}
	if len(settled) > 0 {
		w.guarded(len(settled), w.store.schema.sql(sql), []any{at.ids, at.partitions, at.offsets, at.scopes})
	}
}

const defaultLimit = 100 // of a filter without one

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
