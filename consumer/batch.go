package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A batch is what one poll returned, on its way to the database. It belongs to
// the goroutine of Run until that hands it over. In apply each record's outcome
// belongs to the goroutine that settles the record.
type batch struct {
	kafka    []*kgo.Record        // by span, and there in the order of offsets
	records  []*versioning.Record // likewise
	outcomes []versioning.Outcome // likewise; Undecided where there is no verdict yet
	spans    []span
	released []versioning.Settled
	ahead    int64 // how many records the partitions of the batch are known to have after it
	hold     *hold // from when it is applied
	took     struct{ decode, apply time.Duration }
}

// A span is a run of records from one partition: kafka[first:end].
type span struct {
	partition
	tenure     tenure
	topicID    [16]byte
	first, end int
}

// settled returns where the first record of a span is that has no verdict, or its end.
func (b *batch) settled(s span) int {
	i := s.first
	for i < s.end && b.outcomes[i].Verdict != versioning.Undecided {
		i++
	}
	return i
}

// gather takes the records out of what was fetched. A topic may come twice, from
// two brokers, and with two UUIDs if it was just made anew: so the fetches are
// not merged by topic.
func (r *run) gather(fetches kgo.Fetches) *batch {
	b := &batch{kafka: make([]*kgo.Record, 0, fetches.NumRecords())}
	for _, fetch := range fetches {
		for _, t := range fetch.Topics {
			id := topicID(t.Topic, t.TopicID)
			for _, p := range t.Partitions {
				if len(p.Records) > 0 {
					r.gatherPartition(b, t.Topic, id, p)
				}
			}
		}
	}
	return b
}

func (r *run) gatherPartition(b *batch, topic string, id [16]byte, p kgo.FetchPartition) {
	at := partition{topic, p.Partition}
	tenure, expected, ok := r.partitions.arrive(at, p)
	if !ok {
		r.log.jump(at, expected, p.Records[0].Offset)
	}
	b.ahead += max(0, p.LastStableOffset-1-p.Records[len(p.Records)-1].Offset)
	first := len(b.kafka)
	b.kafka = append(b.kafka, p.Records...)
	b.spans = append(b.spans, span{
		partition: at, tenure: tenure, topicID: id,
		first: first, end: len(b.kafka),
	})
}

// decode turns the batch's messages into records that the store can apply. What
// can't be decoded becomes a record with an Err.
func (r *run) decode(b *batch) {
	defer stopwatch(&b.took.decode)()
	records := make([]versioning.Record, len(b.kafka))
	b.records = make([]*versioning.Record, len(b.kafka))
	b.outcomes = make([]versioning.Outcome, len(b.kafka))
	headers := headers(b.kafka)
	for _, s := range b.spans {
		for i := s.first; i < s.end; i++ {
			b.records[i] = &records[i]
			if n := len(b.kafka[i].Headers); n > 0 {
				records[i].Headers, headers = headers[:n:n], headers[n:]
			}
			r.decodeRecord(&records[i], b.kafka[i], s.topicID)
		}
	}
}

func (r *run) decodeRecord(rec *versioning.Record, k *kgo.Record, topicID [16]byte) {
	rec.Origin = versioning.Origin{Topic: k.Topic, TopicID: topicID, Partition: k.Partition, Offset: k.Offset}
	rec.Key, rec.Value, rec.Timestamp = k.Key, k.Value, k.Timestamp
	if k.Attrs.IsControl() {
		return // a transaction's marker: it asks for nothing
	}
	rec.Decode(r.cfg.Decode)
	r.cfg.Store.Prepare(rec)
}

// headers returns the headers of all records, one after the other.
func headers(records []*kgo.Record) []versioning.Header {
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

func stopwatch(into *time.Duration) func() {
	start := time.Now()
	return func() { *into = time.Since(start) }
}
