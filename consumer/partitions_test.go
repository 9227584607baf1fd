package consumer

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/versioning"
)

// A batch that is settled after its partition was revoked and came back does not move the
// partition's progress back to where the batch ends: another worker was ahead meanwhile.
func TestLateBatch(t *testing.T) {
	t.Parallel()
	v := newVitals(Config{})
	p := v.partitions
	at, zero := partition{"t", 0}, map[string][]int32{"t": {0}}
	p.assign("", zero)
	late := &batch{
		kafka: []*kgo.Record{{Topic: "t", Offset: 199}}, outcomes: []versioning.Outcome{{Verdict: versioning.Applied}},
		spans: []span{{partition: at, tenure: p.tenureOf(at), end: 1}},
	}
	p.release(zero)
	p.advance(late)
	p.assign("", zero)
	p.begin(at, 300)
	p.advance(late)
	if h := v.health(); h.Lag != 0 || !p.isSettled(at, 300) {
		t.Errorf("the lag is %d, and the partition is settled up to 300: %v", h.Lag, p.isSettled(at, 300))
	}
	p.forgetTopic("t") // and a batch of the old topic is settled
	late.spans[0].tenure = p.last
	p.advance(late)
	if p.isSettled(at, 1) {
		t.Error("a batch of the old topic settled the new one")
	}
}

// The ends of a partition that were asked for before it was revoked do not count after it has
// come back: those of a deleted topic would settle the new one.
func TestLateEnds(t *testing.T) {
	t.Parallel()
	p := newVitals(Config{}).partitions
	at, zero := partition{"t", 0}, map[string][]int32{"t": {0}}
	p.assign("", zero)
	asked := p.tenures()
	p.forgetTopic("t")
	p.assign("", zero)
	p.begin(at, 5)
	p.survey(asked, map[partition]ends{at: {start: 500, stable: 500, high: 500}})
	if p.isSettled(at, 6) {
		t.Error("the ends of the old topic settled records of the new one")
	}
	p.survey(p.tenures(), map[partition]ends{at: {start: 7, stable: 9, high: 9}})
	if !p.isSettled(at, 7) || p.isSettled(at, 8) {
		t.Error("the current ends do not count")
	}
}
