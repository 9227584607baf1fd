package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/internal/kgorecord"
	"github.com/pawl-go/pawl/statemachine"
	"github.com/pawl-go/pawl/versioning"
)

// newTestRun returns a run that is not started.
func newTestRun(client *kgo.Client) *run {
	cfg := Config{Logger: slog.New(slog.DiscardHandler)}
	v := newVitals(cfg)
	r, _ := assemble(&shared{cfg: cfg, vitals: v, partitions: newPartitions(v), log: newLogger(cfg, nil), client: client}, nil)
	return r
}

// A hold ends once, and by itself in time.
func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newGates()
		first := o.hold(time.Second)
		first.end()
		o.hold(time.Second)
		first.end() // must not end the second
		start := time.Now()
		third := o.hold(time.Hour)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("the next hold waited %v, want the second that the one before may take", waited)
		}
		third.end()
	})
}

// Giving up partitions waits for the current batch, and the next batch waits until they are
// given up.
func TestGiveUpWaitsItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newTestRun(nil)
		both := map[string][]int32{"t": {0, 1}}
		r.partitions.assign("", both)
		first := r.gates.hold(time.Hour)
		go r.onRevoked(t.Context(), nil, map[string][]int32{"t": {0}})
		synctest.Wait()
		begun := make(chan bool)
		go func() {
			second := r.gates.hold(time.Hour)
			begun <- r.partitions.tenureOf(partition{"t", 0}) != 0
			second.end()
		}()
		synctest.Wait()
		if r.partitions.tenureOf(partition{"t", 0}) == 0 {
			t.Error("a partition was given up during the current batch")
		}
		first.end()
		if <-begun {
			t.Error("the next batch began before the partition was given up")
		}
	})
}

func TestPositions(t *testing.T) {
	t.Parallel()
	at := partition{"t", 1}
	fetched := func(logStart int64, offsets ...int64) kgo.FetchPartition {
		p := kgo.FetchPartition{Partition: 1, LogStartOffset: logStart}
		for _, o := range offsets {
			p.Records = append(p.Records, &kgo.Record{Offset: o})
		}
		return p
	}
	p := newPartitions(newVitals(Config{}))
	p.assign("", map[string][]int32{"t": {1}})
	arrive := func(f kgo.FetchPartition) []jump { return p.arrive([]span{{partition: at}}, []kgo.FetchPartition{f}) }
	steps := []struct {
		name string
		p    kgo.FetchPartition
		ok   bool
	}{
		{"unknown before", fetched(3, 3, 4), true},
		{"committed", fetched(3, 5, 6), true},
		{"gap by compaction", fetched(3, 9, 12), true},
		{"retention", fetched(20, 20), false},
		{"after it", fetched(20, 21), true},
		{"older broker", fetched(-1, 22), true},
		{"cut short", fetched(0, 7), false},
	}
	for i, s := range steps {
		if i == 1 {
			p.begin(map[partition]int64{at: 5})
		}
		if jumps := arrive(s.p); (len(jumps) == 0) != s.ok {
			t.Errorf("%s: jumps %v", s.name, jumps)
		}
	}
	p.release(map[string][]int32{"t": {1}})
	p.assign("", map[string][]int32{"t": {1}})
	if len(arrive(fetched(100, 100))) > 0 {
		t.Error("a forgotten partition still has a position")
	}
}

// Progress is recorded up to the first record without a verdict, even if a partition has two
// spans.
func TestSettle(t *testing.T) {
	t.Parallel()
	const settled, open = versioning.Applied, versioning.Undecided
	tests := map[string]struct {
		verdicts []versioning.Verdict // offsets 10, 11, ... of partition 0 in two spans: [0:2] and [2:]
		want     int64                // 0: none
	}{
		"all":            {[]versioning.Verdict{settled, settled, settled, settled}, 14},
		"none":           {[]versioning.Verdict{open, settled, settled, settled}, 0},
		"some":           {[]versioning.Verdict{settled, open, settled, settled}, 11},
		"first span":     {[]versioning.Verdict{settled, settled, open, settled}, 12},
		"into the next":  {[]versioning.Verdict{settled, settled, settled, open}, 13},
		"dead letters":   {[]versioning.Verdict{versioning.Rejected, versioning.Diverged, versioning.Early, versioning.Ignored}, 14},
		"all but a last": {[]versioning.Verdict{settled, settled, versioning.Duplicate, open}, 13},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := partition{"t", 0}
			b := &batch{spans: []span{
				{partition: at, tenure: 1, topicID: [16]byte{7}, first: 0, end: 2},
				{partition: at, tenure: 1, topicID: [16]byte{7}, first: 2, end: 4},
			}}
			for i, v := range tt.verdicts {
				b.kafka = append(b.kafka, &kgo.Record{Topic: "t", Offset: int64(10 + i), LeaderEpoch: 5})
				b.outcomes = append(b.outcomes, versioning.Outcome{Verdict: v})
			}
			p := newPartitions(newVitals(Config{}))
			p.assign("", map[string][]int32{"t": {0}})
			p.advance(b)
			got := p.pending()[at]
			if got.next.Offset != tt.want || got.next.Offset > 0 && (got.next.Epoch != 5 || got.topicID != [16]byte{7}) {
				t.Errorf("pending is %+v, want offset %d", got, tt.want)
			}
		})
	}
}

// Only what is still owned, in the same tenure, is committed.
func TestTenure(t *testing.T) {
	t.Parallel()
	p := newPartitions(newVitals(Config{}))
	both := map[string][]int32{"t": {0, 1}}
	p.assign("", both)
	first := p.tenureOf(partition{"t", 0})
	if first == 0 || p.tenureOf(partition{"t", 1}) == first || p.tenureOf(partition{"u", 0}) != 0 {
		t.Error("tenures are missing, shared or not the worker's")
	}
	stale := &batch{
		kafka: []*kgo.Record{{Topic: "t", Offset: 9}}, outcomes: []versioning.Outcome{{Verdict: versioning.Applied}},
		spans: []span{{partition: partition{"t", 0}, tenure: first, end: 1}},
	}
	p.advance(stale)
	if len(p.pending()) != 1 {
		t.Error("what is settled is not pending")
	}
	p.release(map[string][]int32{"t": {0}})
	if p.tenureOf(partition{"t", 0}) != 0 || p.tenureOf(partition{"t", 1}) == 0 {
		t.Error("release took the wrong partition")
	}
	p.assign("", map[string][]int32{"t": {0}})
	if got := p.tenureOf(partition{"t", 0}); got == 0 || got == first {
		t.Errorf("tenure %d after %d", got, first)
	}
	p.advance(stale)
	if n := len(p.pending()); n != 0 {
		t.Errorf("%d offsets of an earlier tenure are to be committed", n)
	}
	p.forgetTopic("t")
	if p.tenureOf(partition{"t", 0}) != 0 || p.tenureOf(partition{"t", 1}) != 0 {
		t.Error("forgetTopic left a partition")
	}
}

// Once a topic is known to be re-created, offsets of the old topic must not be committed by
// its name.
func TestReadAnewEndsTenures(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:1"), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t", "u"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := newTestRun(client)
	r.partitions.assign("", map[string][]int32{"t": {0}, "u": {0}})
	r.partitions.begin(map[partition]int64{{"t", 0}: 5})
	r.poller.readRecreated("t")
	if r.partitions.tenureOf(partition{"t", 0}) != 0 || r.partitions.tenureOf(partition{"u", 0}) == 0 || r.partitions.lives[partition{"t", 0}].position.known {
		t.Error("the old topic's partition is still owned, or the other one's is not")
	}
	if topics := client.GetConsumeTopics(); len(topics) != 2 {
		t.Errorf("the client consumes %v, want both", topics)
	}
}

// The broker may name topics only by ID, and answers for each partition.
func TestTakeAnswer(t *testing.T) {
	t.Parallel()
	request := kmsg.NewPtrOffsetCommitRequest()
	response := kmsg.NewPtrOffsetCommitResponse()
	r := newTestRun(nil)
	for i, topic := range []string{"a", "b"} {
		id := [16]byte{byte(i + 1)}
		request.Topics = append(request.Topics, kmsg.OffsetCommitRequestTopic{Topic: topic, TopicID: id})
		answer := kmsg.OffsetCommitResponseTopic{TopicID: id}
		for p := range int32(2) {
			r.partitions.lives[partition{topic, p}] = &life{pending: milestone{tenure: 1}}
			answer.Partitions = append(answer.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p})
		}
		response.Topics = append(response.Topics, answer)
	}
	response.Topics[1].Partitions[1].ErrorCode = kerr.RebalanceInProgress.Code
	due := r.partitions.pending()
	later := partition{"a", 1}
	r.partitions.lives[later].pending = milestone{next: kgo.EpochOffset{Offset: 7}, tenure: 1} // settled since it was asked
	if r.committer.take(due, answer{request, response, nil}) {
		t.Error("all is committed, although the broker has refused some")
	}
	want := progress{{"b", 1}: {tenure: 1}, later: {next: kgo.EpochOffset{Offset: 7}, tenure: 1}}
	if !maps.Equal(r.partitions.pending(), want) {
		t.Errorf("pending %v, want %v", r.partitions.pending(), want)
	}
	if r.committer.take(due, answer{err: context.DeadlineExceeded}) || !maps.Equal(r.partitions.pending(), want) {
		t.Errorf("pending %v after an attempt without answer, want %v", r.partitions.pending(), want)
	}
}

// SplitByEntity splits records like a store in which nothing is parked. It holds the marks of
// one group.
type SplitByEntity struct {
	Other *SplitByEntity // has the marks, if it is not nil

	mu    sync.Mutex
	marks map[[16]byte]map[int32]versioning.Mark
}

// FakeServer is the server of SplitByEntity.
const FakeServer versioning.Server = "fake"

func (s *SplitByEntity) Marks(_ context.Context, _ string, ids [][16]byte) (marks []versioning.Mark, _ versioning.Server, _ error) {
	if s.Other != nil {
		return s.Other.Marks(context.Background(), "", ids)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		marks = slices.AppendSeq(marks, maps.Values(s.marks[id]))
	}
	return marks, FakeServer, nil
}

func (s *SplitByEntity) SetMarks(_ context.Context, _ string, _ versioning.Server, marks []versioning.Mark) error {
	if s.Other != nil {
		return s.Other.SetMarks(context.Background(), "", FakeServer, marks)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range marks {
		if s.marks == nil {
			s.marks = make(map[[16]byte]map[int32]versioning.Mark)
		}
		if s.marks[m.TopicID] == nil {
			s.marks[m.TopicID] = make(map[int32]versioning.Mark)
		}
		s.marks[m.TopicID][m.Partition] = m
	}
	return nil
}

func (*SplitByEntity) Split(_ context.Context, records []*versioning.Record, n int) (lists [][]*versioning.Record, index [][]int, err error) {
	lists, index = versioning.Split(records, nil, n)
	return lists, index, nil
}

type nothing struct{ SplitByEntity }

func (*nothing) Prepare(*versioning.Record) {}

func (*nothing) Apply(_ context.Context, _ versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	outcomes := make([]versioning.Outcome, len(records))
	for i := range outcomes {
		outcomes[i].Verdict = versioning.Applied
	}
	return versioning.Result{Outcomes: outcomes}, nil
}

// The log says of an unknown event which one was probably meant, however long the event is.
func TestUnknownEvent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	tests := []struct {
		reason              versioning.Reason
		event, detail, want string
	}{
		{versioning.ReasonUnknownEvent, "shiped", `no event "shiped"; did you mean "shipped"?`, `no event "shiped"; did you mean "shipped"?`},
		{versioning.ReasonUnknownEvent, long, `no event "` + long + `"; did you mean "shipped"?`, `no event "` + clip(long) + `"; did you mean "shipped"?`},
		{versioning.ReasonUnknownEvent, "shiped", "of another store", ""},
		{versioning.ReasonIllegal, "shipped", `event "shipped" is not legal`, ""},
	}
	for _, tt := range tests {
		o := versioning.Outcome{Verdict: versioning.Rejected, Reason: tt.reason, Detail: tt.detail, Event: statemachine.Event(tt.event)}
		if got := unknownEvent(o); got != tt.want {
			t.Errorf("%s %q: logged %q, want %q", tt.reason, tt.detail, got, tt.want)
		}
	}
}

// noMarks is a store that can't store marks.
type noMarks struct{ nothing }

func (*noMarks) SetMarks(context.Context, string, versioning.Server, []versioning.Mark) error {
	return errors.New("no space left on device")
}

// If marks can't be written, a read that succeeds or is given up does not end the trouble: no
// offset is committed.
func TestMarksCantBeWritten(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := newTestRun(client)
	r.cfg.Store = &noMarks{}
	marks := r.committer.marks
	marks.base.check(FakeServer)
	due := progress{{"t", 0}: {tenure: 1}}
	if marks.write(t.Context(), due) || !r.vitals.trouble().Holds() {
		t.Error("marks that can't be written are no trouble")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := marks.read(ctx, nil); err == nil || !r.vitals.trouble().Holds() {
		t.Errorf("read = %v, and the trouble with writing is over", err)
	}
	r.cfg.Store = &nothing{}
	if !marks.write(t.Context(), due) || r.vitals.trouble().Holds() {
		t.Error("the trouble does not end once the marks are written")
	}
}

// BenchmarkBatch measures the cost of a batch without Kafka and PostgreSQL, per record:
// gather, decode, split and the bookkeeping of offsets.
func BenchmarkBatch(b *testing.B) {
	const records, partitions = 5000, 8
	fetched := kgo.FetchTopic{Topic: "orders", TopicID: [16]byte{1}}
	for p := range int32(partitions) {
		fp := kgo.FetchPartition{Partition: p}
		for i := range records / partitions {
			fp.Records = append(fp.Records, &kgo.Record{
				Topic: "orders", Partition: p, Offset: int64(i), Key: fmt.Append(nil, "order-", i),
				Value:   fmt.Appendf(nil, `{"key":"order-%d","event":"order.placed","set":{"total":1234}}`, i),
				Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("0b1f6c52-7f4d-4b5e-9d3a-3a1c1a4ff001")}},
			})
		}
		fetched.Partitions = append(fetched.Partitions, fp)
	}
	fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{fetched}}}
	none := func(k *versioning.Record) ([]versioning.Change, error) {
		return []versioning.Change{{Machine: "order", Key: string(k.Key), Event: "order.placed"}}, nil
	}
	for name, decode := range map[string]DecodeFunc{"decode=trivial": none, "decode=message": DecodeMessage} {
		b.Run(name, func(b *testing.B) {
			cfg := Config{Store: &nothing{}, Decode: decode, Logger: slog.New(slog.DiscardHandler)}.withDefaults()
			r := newTestRun(nil)
			r.cfg, r.log = cfg, newLogger(cfg, nil)
			r.partitions.assign("", map[string][]int32{"orders": {0, 1, 2, 3, 4, 5, 6, 7}})
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				batch := r.poller.gather(fetches)
				if err := r.decoder.decode(b.Context(), b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				if err := r.applier.apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				r.partitions.advance(batch)
				if err := r.report(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				if len(r.partitions.pending()) != partitions {
					b.Fatal("partitions are missing")
				}
				for p := range int32(partitions) {
					r.partitions.lives[partition{"orders", p}].position.known = false
				}
				n += len(batch.kafka)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}

// A worker is behind if its partitions are known to hold half a batch more, whether it
// has arrived or not.
func TestIsBehind(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := newTestRun(client)
	for _, c := range []struct {
		records int
		stable  int64 // the last stable offset
		want    bool
	}{
		{10, 10, false}, // the end
		{10, 14, false},
		{10, 15, true},
		{10, -1, false}, // the broker does not report it
		{0, 100, false},
	} {
		p := kgo.FetchPartition{LastStableOffset: c.stable}
		for offset := range c.records {
			p.Records = append(p.Records, &kgo.Record{Offset: int64(offset)})
		}
		b := r.poller.gather(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}})
		if got := r.isBehind(b); got != c.want {
			t.Errorf("%d records of a partition that ends at %d: behind is %v, want %v", c.records, c.stable, got, c.want)
		}
	}
}

// The size of a fetch is limited, unless Config.Client sets another limit.
func TestFetchMaxBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		opts []kgo.Opt
		want int32
	}{
		{nil, 4 << 20},
		{[]kgo.Opt{kgo.FetchMaxBytes(1 << 20)}, 1 << 20},
	} {
		client, err := kgo.NewClient(Config{Group: "g", Topics: []string{"t"}, Client: c.opts}.withDefaults().clientOptions()...)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.OptValue(kgo.FetchMaxBytes); got != c.want {
			t.Errorf("FetchMaxBytes is %v, want %d", got, c.want)
		}
		client.Close()
	}
}

// A worker that has become another member of its group does not commit for the partitions that
// were assigned to the previous member, because another worker may own them.
func TestNoCommitAsAnotherMember(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient(kgo.SeedBrokers("localhost:1"), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := newTestRun(client)
	at := partition{"t", 0}
	r.partitions.assign("the member that it was", map[string][]int32{"t": {0}})
	due := progress{at: {next: kgo.EpochOffset{Offset: 3}, tenure: r.partitions.tenureOf(at)}}
	if a := r.committer.attempt(t.Context(), due); !errors.Is(a.err, errAnotherMember) {
		t.Errorf("the commit was not kept back: %v", a.err)
	}
}

// TopicID is topicID.
var TopicID = kgorecord.TopicID
