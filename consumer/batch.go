package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A batch holds the records that one poll returned, until they are settled. It belongs to
// the goroutine of Run until that hands it over. During apply, each record's outcome belongs
// to the goroutine that settles the record.
type batch struct {
	kafka    []*kgo.Record        // ordered by span, and by offset in each span
	records  []*versioning.Record // in the same order
	outcomes []versioning.Outcome // in the same order; Undecided if there is no verdict yet
	spans    []span
	released []versioning.Settled
	ahead    int64 // how many offsets the batch's partitions are known to have after it
	hold     *hold // set when the batch is applied
	took     struct{ decode, apply time.Duration }
}

// A span is a run of records from one partition: kafka[first:end].
type span struct {
	partition
	tenure     tenure
	topicID    [16]byte
	first, end int
}

// add appends a span with the records that were fetched from a partition.
func (b *batch) add(at partition, topicID [16]byte, fetched kgo.FetchPartition) {
	first, last := len(b.kafka), fetched.Records[len(fetched.Records)-1]
	b.kafka = append(b.kafka, fetched.Records...)
	b.ahead += max(0, fetched.LastStableOffset-1-last.Offset)
	b.spans = append(b.spans, span{partition: at, topicID: topicID, first: first, end: len(b.kafka)})
}

// settled returns the index of the span's first record without a verdict, or the span's end.
func (b *batch) settled(s span) int {
	i := s.first
	for i < s.end && b.outcomes[i].Verdict != versioning.Undecided {
		i++
	}
	return i
}

func stopwatch(into *time.Duration) func() {
	start := time.Now()
	return func() { *into = time.Since(start) }
}
