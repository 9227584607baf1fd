package consumer

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// positions are the offsets from which the partitions are to go on. The client
// resets an offset that the broker no longer has without a word; a record that
// was deleted before it was consumed must not go unnoticed.
type positions struct {
	mu   sync.Mutex
	next map[partition]int64
}

// begin notes where a partition goes on from.
func (p *positions) begin(at partition, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = make(map[partition]int64)
	}
	p.next[at] = offset
}

func (p *positions) forget(partitions map[string][]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, ids := range partitions {
		for _, id := range ids {
			delete(p.next, partition{topic, id})
		}
	}
}

func (p *positions) forgetTopic(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.next {
		if at.topic == topic {
			delete(p.next, at)
		}
	}
}

// advance moves a partition on past what was fetched. ok is false if that does
// not follow on what came before: the log's start has overtaken the worker, or
// its end has fallen behind it. Gaps between records are normal: compaction and
// transactions leave them.
func (p *positions) advance(at partition, fetched kgo.FetchPartition) (expected int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := fetched.Records
	expected, known := p.next[at]
	if known {
		p.next[at] = records[len(records)-1].Offset + 1
		ok = records[0].Offset >= expected && fetched.LogStartOffset <= expected
		return expected, ok
	}
	return 0, true
}
