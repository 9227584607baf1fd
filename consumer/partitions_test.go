package consumer

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A batch that is settled after its partition was revoked and came back does not move the
// partition's progress back to where the batch ends: another worker was ahead meanwhile.
func TestLateBatch(t *testing.T) {
	t.Parallel()
	v := newVitals(Config{})
	p := newPartitions(v)
	at, zero := partition{"t", 0}, map[string][]int32{"t": {0}}
	p.assign("", zero)
	late := &batch{
		kafka: []*kgo.Record{{Topic: "t", Offset: 199}}, outcomes: []versioning.Outcome{{Verdict: versioning.Applied}},
		spans: []span{{partition: at, tenure: p.tenureOf(at), end: 1}},
	}
	p.release(zero)
	p.advance(late)
	p.assign("", zero)
	p.begin(map[partition]int64{at: 300})
	p.advance(late)
	if h := v.health(); h.Lag != 0 || !p.lives[at].reach.isSettled(300) {
		t.Errorf("the lag is %d, and the partition is %+v, want it settled up to 300", h.Lag, p.lives[at].reach)
	}
	p.forgetTopic("t") // and a batch of the old topic is settled
	late.spans[0].tenure = p.last
	p.advance(late)
	if p.lives[at].reach.isSettled(1) {
		t.Error("a batch of the old topic settled the new one")
	}
}

// The ends of a partition that were asked for before it was revoked do not count after it has
// come back: those of a deleted topic would settle the new one.
func TestLateEnds(t *testing.T) {
	t.Parallel()
	p := newPartitions(newVitals(Config{}))
	at, zero := partition{"t", 0}, map[string][]int32{"t": {0}}
	p.assign("", zero)
	asked := p.tenures()
	p.forgetTopic("t")
	p.assign("", zero)
	p.begin(map[partition]int64{at: 5})
	p.survey(asked, map[partition]ends{at: {start: 500, stable: 500, high: 500}})
	if p.lives[at].reach.isSettled(6) {
		t.Error("the ends of the old topic settled records of the new one")
	}
	p.survey(p.tenures(), map[partition]ends{at: {start: 7, stable: 9, high: 9}})
	if !p.lives[at].reach.isSettled(7) || p.lives[at].reach.isSettled(8) {
		t.Error("the current ends do not count")
	}
}

// BenchmarkPartitions measures the bookkeeping of a batch that has a record of each partition.
// The time per partition must not grow with their number.
func BenchmarkPartitions(b *testing.B) {
	for _, n := range []int32{10, 100, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			r := newTestRun(nil)
			fetched := kgo.FetchTopic{Topic: "t", TopicID: [16]byte{1}}
			var ids []int32
			begins := make(map[partition]int64)
			for id := range n {
				ids = append(ids, id)
				begins[partition{"t", id}] = 0
				fetched.Partitions = append(fetched.Partitions, kgo.FetchPartition{
					Partition: id, HighWatermark: 9, LastStableOffset: 9, Records: []*kgo.Record{{Topic: "t", Partition: id}},
				})
			}
			fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{fetched}}}
			for b.Loop() {
				r.partitions.assign("", map[string][]int32{"t": ids})
				r.partitions.begin(begins)
				batch := r.poller.gather(fetches)
				batch.outcomes = make([]versioning.Outcome, n)
				for i := range batch.outcomes {
					batch.outcomes[i].Verdict = versioning.Applied
				}
				r.partitions.advance(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/partition")
		})
	}
}
