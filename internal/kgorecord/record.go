// Package kgorecord makes the framework's records from those of franz-go.
package kgorecord

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A Maker makes records. Its memory comes from a few allocations for all records of a batch.
type Maker struct {
	decode  func(*versioning.Record) ([]versioning.Change, error)
	prepare func(*versioning.Record)
	records []versioning.Record
	headers []versioning.Header
}

// NewMaker returns a Maker for the given records. It calls decode and prepare for each record.
func NewMaker(of []*kgo.Record, decode func(*versioning.Record) ([]versioning.Change, error), prepare func(*versioning.Record)) *Maker {
	return &Maker{decode, prepare, make([]versioning.Record, len(of)), headersOf(of)}
}

// Make returns the record of the next Kafka record, decoded. If that can't be decoded, the record
// has an Err. The marker of a transaction becomes a record without changes.
func (m *Maker) Make(k *kgo.Record, topicID [16]byte) *versioning.Record {
	rec := m.Undecoded(k, topicID)
	if !k.Attrs.IsControl() {
		m.Decode(rec)
	}
	return rec
}

// Decode decodes and prepares a record. If it is in trouble (see [versioning.Record.Trouble]),
// call Decode again later.
func (m *Maker) Decode(rec *versioning.Record) {
	if rec.Decode(m.decode); rec.Trouble() == nil {
		m.prepare(rec)
	}
}

// Undecoded returns the record of the next Kafka record, with neither changes nor an Err.
func (m *Maker) Undecoded(k *kgo.Record, topicID [16]byte) *versioning.Record {
	rec := &m.records[0]
	m.records = m.records[1:]
	if n := len(k.Headers); n > 0 {
		rec.Headers, m.headers = m.headers[:n:n], m.headers[n:]
	}
	rec.Origin = versioning.Origin{Topic: k.Topic, TopicID: topicID, Partition: k.Partition, Offset: k.Offset}
	rec.Key, rec.Value, rec.Timestamp = k.Key, k.Value, k.Timestamp
	return rec
}

// headersOf returns the headers of all records, concatenated. It allocates once.
func headersOf(records []*kgo.Record) []versioning.Header {
	n := 0
	for _, k := range records {
		n += len(k.Headers)
	}
	headers := make([]versioning.Header, 0, n)
	for _, k := range records {
		for _, h := range k.Headers {
			headers = append(headers, versioning.Header{Key: h.Key, Value: h.Value})
		}
	}
	return headers
}
