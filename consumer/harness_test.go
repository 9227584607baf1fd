package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pawl-go/pawl/consumer"
	"github.com/pawl-go/pawl/versioning"
)

// bubble runs a test in a synctest bubble, once for each group protocol.
func bubble(t *testing.T, test func(t *testing.T, protocol consumer.Protocol)) {
	t.Helper()
	for name, protocol := range map[string]consumer.Protocol{"classic": consumer.Classic, "consumer": consumer.Consumer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, protocol) })
		})
	}
}

// testsOfSeveralWorkers matches the tests in which members of a group wait for each other in
// a bubble.
const testsOfSeveralWorkers = "^Test(" +
	"CancelWhileAJoinWaits|" +
	"HoldDoesNotOutliveItsTurn|" +
	"MissingDeadLetterTopic|" +
	"NoCommitAfterPartitionsAreLost|" +
	"PartitionComesBackWhileTheDatabaseIsDown|" +
	"PartitionIsTakenDuringDecodeTrouble|" +
	"PartitionsWaitForACommit|" +
	"RebalanceDuringDecodeTrouble|" +
	"RebalanceWhileTheDatabaseIsDown|" +
	"SlowStoreHoldsUpARebalanceForAWhile|" +
	"TimersOfWorkers)$"

// severalWorkers skips a test of testsOfSeveralWorkers unless the build tag synctests is set.
// Without it, a commit that waits for a rebalance, which waits for another member, stops the
// bubble's clock for ever: the Kafka client waits for a lock, in which no time passes.
func severalWorkers(t *testing.T) {
	t.Helper()
	if !regexp.MustCompile(testsOfSeveralWorkers).MatchString(t.Name()) {
		t.Fatal("testsOfSeveralWorkers does not match this test")
	}
	if !locksLetTimePass {
		t.Skip("TestSeveralWorkers runs this test with the build tag synctests")
	}
}

// A broker is a Kafka cluster in memory, with methods that drive it in tests.
type broker struct {
	*kfake.Cluster
	t      *testing.T
	net    *kfake.VirtualNetwork
	client *kgo.Client
	admin  *kadm.Client

	mu       sync.Mutex
	topicIDs map[[16]byte]string
	commits  []commit // in the order in which they reached the broker
}

// A commit is what one request asked the broker to commit for one partition.
type commit struct {
	member    string
	topic     string
	partition int32
	offset    int64
}

const group = "workers"

func startBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	b := &broker{t: t, net: new(kfake.VirtualNetwork), topicIDs: make(map[[16]byte]string)}
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(b.net.Listen)}, opts...)
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b.Cluster = cluster
	b.client = b.newClient()
	b.admin = kadm.NewClient(b.client)
	b.ControlKey(int16(kmsg.OffsetCommit), b.seeCommit)
	return b
}

func (b *broker) newClient(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	client, err := kgo.NewClient(append(b.opts(), append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	return client
}

// opts returns the options that a client of this broker needs.
func (b *broker) opts() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(b.net.DialContext)}
}

func (b *broker) topic(name string, partitions int32) {
	b.t.Helper()
	if err := b.CreateTopic(name, partitions, nil); err != nil {
		b.t.Fatal(err)
	}
	details, err := b.admin.ListTopics(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topicIDs[details[name].ID] = name
}

// seeCommit runs on the broker. It records commits and lets them through.
func (b *broker) seeCommit(request kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the form of kfake's controls
	b.KeepControl()
	b.mu.Lock()
	defer b.mu.Unlock()
	r := request.(*kmsg.OffsetCommitRequest)
	for _, t := range r.Topics {
		topic := t.Topic
		if topic == "" {
			topic = b.topicIDs[t.TopicID]
		}
		for _, p := range t.Partitions {
			b.commits = append(b.commits, commit{r.MemberID, topic, p.Partition, p.Offset})
		}
	}
	return nil, nil, false
}

func (b *broker) seenCommits() []commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]commit(nil), b.commits...)
}

// produce writes a record for each key to a partition.
func (b *broker) produce(topic string, partition int32, keys ...string) {
	b.t.Helper()
	records := make([]*kgo.Record, len(keys))
	for i, key := range keys {
		records[i] = &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte("go")}
	}
	b.produceRecords(records...)
}

func (b *broker) produceRecords(records ...*kgo.Record) {
	b.t.Helper()
	if err := b.client.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// committed returns the offset that the broker holds for a partition, -1 if none.
func (b *broker) committed(topic string, partition int32) int64 {
	b.t.Helper()
	offsets, err := b.admin.FetchOffsets(b.t.Context(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if o, ok := offsets.Lookup(topic, partition); ok {
		return o.At
	}
	return -1
}

func (b *broker) awaitCommitted(topic string, partition int32, want int64) {
	b.t.Helper()
	await(b.t, time.Minute, func() error {
		if got := b.committed(topic, partition); got != want {
			return fmt.Errorf("%s/%d is committed up to %d, not %d", topic, partition, got, want)
		}
		return nil
	})
}

// members returns the number of the group's members.
func (b *broker) members() int {
	b.t.Helper()
	classic, err := b.admin.DescribeGroups(b.t.Context(), group)
	if err != nil {
		b.t.Fatal(err)
	}
	if n := len(classic[group].Members); n > 0 {
		return n
	}
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = []string{group}
	response, err := request.RequestWith(b.t.Context(), b.client)
	if err != nil || len(response.Groups) == 0 {
		return 0
	}
	return len(response.Groups[0].Members)
}

// await waits for a condition, in the bubble's fake time.
func await(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		pass(20 * time.Millisecond)
	}
}

func pass(d time.Duration) { <-time.After(d) }

// A running is a running worker.
type running struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	logs   *capture
	worker *consumer.Worker
}

// config returns the configuration of a worker on one topic. It decodes a record into a
// change of the entity that the record's key names.
func (b *broker) config(protocol consumer.Protocol, store consumer.Store, topics ...string) consumer.Config {
	return consumer.Config{
		Client:   b.opts(),
		Group:    group,
		Topics:   topics,
		Store:    store,
		Decode:   decodeKey,
		Protocol: protocol,
	}
}

func decodeKey(r *versioning.Record) ([]versioning.Change, error) {
	var changes []versioning.Change
	for key := range strings.SplitSeq(string(r.Key), "+") {
		changes = append(changes, versioning.Change{Machine: "m", Key: key, Event: "go"})
	}
	return changes, nil
}

func start(t *testing.T, cfg consumer.Config) *running {
	t.Helper()
	r := &running{t: t, done: make(chan error, 1), logs: new(capture)}
	cfg.Logger = slog.New(r.logs)
	worker, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.worker = worker
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() { r.done <- worker.Run(ctx) }()
	t.Cleanup(func() {
		r.cancel()
		if t.Failed() {
			t.Log(r.logs.String())
		}
	})
	return r
}

// stop ends the worker, and returns how long that took.
func (r *running) stop() time.Duration {
	r.t.Helper()
	before := time.Now()
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Fatalf("Run = %v, want nil", err)
	}
	return time.Since(before)
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(5 * time.Minute):
		r.t.Fatal("Run did not return")
		return nil
	}
}

// A fake is a store that applies every record, unless on sets something else.
type fake struct {
	consumer.SplitByEntity

	mu      sync.Mutex
	before  func(context.Context, []*versioning.Record) (settled int, err error)
	settled map[versioning.Origin]int // how often
	order   map[string][]string       // origins by entity
	busy    map[string]bool
	most    int // lists at the same time
	lists   int
	overlap []string // entities that were in two lists at the same time
}

func newFake() *fake {
	return &fake{settled: make(map[versioning.Origin]int), order: make(map[string][]string), busy: make(map[string]bool)}
}

func (f *fake) Prepare(*versioning.Record) {}

func (f *fake) Sweep(context.Context, versioning.Reading) (versioning.Swept, error) {
	return versioning.Swept{}, nil
}

func (f *fake) FireTimers(context.Context, int) (versioning.Fired, error) {
	return versioning.Fired{}, nil
}

// on sets a function that is called before each Apply. It returns how many of the records to
// settle, or -1 for all, and the error to return.
func (f *fake) on(before func(context.Context, []*versioning.Record) (settled int, err error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *fake) Apply(ctx context.Context, on versioning.Server, records []*versioning.Record) (versioning.Result, error) {
	f.enter(records)
	defer f.exit(records)
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	settled, err := -1, error(nil)
	if before != nil {
		settled, err = before(ctx, records)
	}
	if settled < 0 || settled > len(records) {
		settled = len(records)
	}
	return f.settle(records[:settled]), err
}

func (f *fake) settle(records []*versioning.Record) versioning.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	result := versioning.Result{Outcomes: make([]versioning.Outcome, len(records))}
	for i, r := range records {
		result.Outcomes[i].Verdict = versioning.Applied
		if f.settled[r.Origin] > 0 {
			result.Outcomes[i].Verdict = versioning.Duplicate
		}
		f.settled[r.Origin]++
		for _, c := range r.Changes {
			f.order[c.Key] = append(f.order[c.Key], r.Origin.String())
		}
	}
	return result
}

func (f *fake) enter(records []*versioning.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	f.most = max(f.most, f.lists)
	for key := range keysOf(records) {
		if f.busy[key] {
			f.overlap = append(f.overlap, key)
		}
		f.busy[key] = true
	}
}

func (f *fake) exit(records []*versioning.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists--
	for key := range keysOf(records) {
		delete(f.busy, key)
	}
}

func keysOf(records []*versioning.Record) map[string]bool {
	keys := make(map[string]bool)
	for _, r := range records {
		for _, c := range r.Changes {
			keys[c.Key] = true
		}
	}
	return keys
}

// count returns how many records of a topic are settled.
func (f *fake) count(topic string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for origin := range f.settled {
		if origin.Topic == topic {
			n++
		}
	}
	return n
}

func (f *fake) isSettled(topic string, partition int32, offset int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for origin := range f.settled {
		if origin.Topic == topic && origin.Partition == partition && origin.Offset == offset {
			return true
		}
	}
	return false
}

func (f *fake) awaitCount(t *testing.T, topic string, want int) {
	t.Helper()
	await(t, 2*time.Minute, func() error {
		if got := f.count(topic); got != want {
			return fmt.Errorf("%d records of %s are settled, not %d", got, topic, want)
		}
		return nil
	})
}

// guardCommits fails the test if a commit reaches the broker before the stores have settled
// everything that it covers.
func (b *broker) guardCommits(topic string, stores ...*fake) {
	isSettled := func(partition int32, offset int64) bool {
		return slices.ContainsFunc(stores, func(f *fake) bool { return f.isSettled(topic, partition, offset) })
	}
	b.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		for _, t := range request.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				for offset := range p.Offset {
					if !isSettled(p.Partition, offset) {
						b.t.Errorf("commit of %s/%d up to %d, but %d is not settled", topic, p.Partition, p.Offset, offset)
						break
					}
				}
			}
		}
		return nil, nil, false
	})
}

var errDown = errors.New("database is down")

// keys returns n different keys.
func keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
	}
	return keys
}

// A capture keeps log lines.
type capture struct {
	mu    sync.Mutex
	lines []string
	attrs []slog.Attr
	root  *capture
}

func (c *capture) Enabled(context.Context, slog.Level) bool { return true }

func (c *capture) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%s %s %s", r.Time.Format(time.TimeOnly), r.Level, r.Message)
	for _, a := range c.attrs {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
	}
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %s=%v", a.Key, a.Value)
		return true
	})
	root := c
	if c.root != nil {
		root = c.root
	}
	root.mu.Lock()
	defer root.mu.Unlock()
	root.lines = append(root.lines, line.String())
	return nil
}

func (c *capture) WithAttrs(attrs []slog.Attr) slog.Handler {
	root := c
	if c.root != nil {
		root = c.root
	}
	return &capture{attrs: append(slices.Clip(c.attrs), attrs...), root: root}
}

func (c *capture) WithGroup(string) slog.Handler { return c }

func (c *capture) String() string { return strings.Join(c.matching(""), "\n") }

// matching returns the lines that contain all of the texts.
func (c *capture) matching(texts ...string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
next:
	for _, line := range c.lines {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}
