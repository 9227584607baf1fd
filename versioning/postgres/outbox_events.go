package postgres

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pawl-go/pawl/internal/uuid8"
	"github.com/pawl-go/pawl/versioning"
)

// queueEvents queues the statements that write messages for Debezium's outbox event router and
// delete them again.
func queueEvents(to queue, in *schema, events []versioning.Emitted) {
	ids := make([]pgtype.UUID, len(events))
	var topics, keys, types, messages, sources, times, contentTypes, headers []string
	var payloads [][]byte
	for i := range events {
		m := &events[i]
		ids[i] = pgtype.UUID{Bytes: eventID(m), Valid: true}
		topics, keys, types = append(topics, m.Topic), append(keys, string(m.Key)), append(types, string(m.Event))
		messages, sources = append(messages, m.ID()), append(sources, m.Source)
		times = append(times, m.Time.UTC().Format(time.RFC3339Nano))
		contentTypes, headers = append(contentTypes, m.ContentType), append(headers, eventHeaders(m.Headers))
		payloads = append(payloads, m.Value)
	}
	to.Queue(in.sql(insertEventsSQL), ids, topics, keys, types, payloads, messages, sources, times, contentTypes, headers)
	to.Queue(in.sql(deleteEventsSQL), ids)
}

// insertEventsSQL writes messages in their order, which is the one that Debezium reads.
const insertEventsSQL pawlSQL = `
INSERT INTO pawl.outbox_events (id, aggregatetype, aggregateid, type, payload, ce_id, ce_source, ce_time, content_type, headers)
SELECT u.id, u.aggregatetype, u.aggregateid, u.type, u.payload, u.ce_id, u.ce_source, u.ce_time, nullif(u.content_type, ''), u.headers
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[])
	WITH ORDINALITY AS u(id, aggregatetype, aggregateid, type, payload, ce_id, ce_source, ce_time, content_type, headers, nr)
ORDER BY u.nr`

const deleteEventsSQL pawlSQL = `DELETE FROM pawl.outbox_events WHERE id = ANY ($1::uuid[])`

// eventID derives a UUID from the source and the ID of a message, of version 8 (RFC 9562).
func eventID(m *versioning.Emitted) [16]byte {
	return uuid8.Of(sha256.Sum256([]byte(m.Source + "\x00" + m.ID())))
}

// eventHeaders returns headers as a JSON object. Of several with one key, the last one stays.
// Bytes that are not UTF-8 are replaced.
func eventHeaders(headers []versioning.Header) string {
	values := make(map[string]any, len(headers))
	for _, h := range headers {
		if h.Value == nil {
			values[h.Key] = nil
		} else {
			values[h.Key] = textFor(string(h.Value))
		}
	}
	text, err := json.Marshal(values)
	if err != nil { // strings and nil can be encoded
		panic(err)
	}
	return string(text)
}
