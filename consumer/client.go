package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchMaxBytes is what one fetch brings, as it is sent: as a rule, compressed. It
// is several batches of common records, so that the next ones are there in time.
const fetchMaxBytes = 4 << 20

// clientOptions returns the options of the Kafka client: our defaults, the
// user's options, and then those that the worker's promises rest on. The last
// one of a kind wins.
func (c Config) clientOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// The Java client's: a partition that is taken over waits for the fetch
		// that is under way, and a broker holds that for so long.
		kgo.FetchMaxWait(500 * time.Millisecond),
		// What has arrived waits in memory, unpacked, beside the batches in work: a
		// fetch of each broker. The client's 50 MiB would be several hundred there.
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.MaxDecompressBatchBytes(maxUnpackedBatch),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RebalanceTimeout(max(time.Minute, 2*c.RebalanceHold)),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
	}
	opts = append(opts, c.Client...)
	if c.Protocol == Consumer {
		// Any other balancer would quietly mean the classic protocol.
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	if c.DeadLetterTopic != nil {
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	return append(opts,
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(c.Topics...),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// Markers of transactions take up offsets: a worker that never saw them
		// would seem to lag behind the end of the log for ever.
		kgo.KeepControlRecords(),
	)
}

// validateClient asks the Kafka client about its options. Most of those that
// would break the worker are found by what they do not go together with.
func (c Config) validateClient() (problems []error) {
	opts := c.clientOptions()
	if err := kgo.ValidateOpts(opts...); err != nil {
		return []error{err}
	}
	with := func(probe ...kgo.Opt) bool {
		return kgo.ValidateOpts(append(slices.Clip(opts), probe...)...) == nil
	}
	if !with(kgo.ConsumeTopics("(")) {
		problems = append(problems, errors.New("ConsumeRegex would make Topics regular expressions; list the topics"))
	}
	if !with(kgo.AllowIdempotentProduceCancellation()) {
		problems = append(problems, errors.New("TransactionalID is for producers; the worker's commits are no part of a Kafka transaction"))
	}
	if adjustsOffsets(opts) {
		problems = append(problems, errors.New("AdjustFetchOffsetsFn is the worker's, to begin at the database's marks; "+
			"to leave records out, stop the workers and move the group with Kafka's tools"))
	}
	if isStatic, isServerSide := groupOptions(opts); isStatic && isServerSide {
		problems = append(problems, errors.New("InstanceID does not go together with consumer.Consumer (KIP-848): "+
			"a worker that is restarted would wait for its session to time out; drop InstanceID, or use consumer.Classic without ServerSideBalancer"))
	}
	return problems
}

// groupOptions tells whether options, which are valid, give the member of a group
// an instance ID, and whether they have the broker assign its partitions.
func groupOptions(opts []kgo.Opt) (isStatic, isServerSide bool) {
	askClient(opts, func(client *kgo.Client) {
		isStatic = client.OptValue(kgo.InstanceID) != ""
		isServerSide = client.OptValue(kgo.ServerSideBalancer) == true
	})
	return isStatic, isServerSide
}

// adjustsOffsets tells whether options, which are valid, say where partitions begin.
func adjustsOffsets(opts []kgo.Opt) (adjusts bool) {
	askClient(opts, func(client *kgo.Client) {
		adjust, ok := client.OptValue(kgo.AdjustFetchOffsetsFn).(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error))
		adjusts = ok && adjust != nil
	})
	return adjusts
}

// askClient asks a client with some options what they are; only a client knows.
// Its first hook gets it before it has a goroutine, and ends its making: the
// user's hooks do not hear of it, and it connects to nothing.
func askClient(opts []kgo.Opt, ask func(*kgo.Client)) {
	var hook clientHook
	hook = func(client *kgo.Client) {
		ask(client)
		panic(&hook)
	}
	defer func() {
		if p := recover(); p != nil && p != any(&hook) {
			panic(p)
		}
	}()
	first := kgo.WithHooks(&hook)
	// A context of the user's would remember the client.
	last := kgo.WithContext(context.Background())
	_, _ = kgo.NewClient(slices.Concat([]kgo.Opt{first}, opts, []kgo.Opt{last})...)
}

// decompressorOf returns what a client with some options unpacks batches with.
func decompressorOf(opts []kgo.Opt) (d kgo.Decompressor) {
	askClient(opts, func(client *kgo.Client) {
		d, _ = client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	})
	return d
}

// A clientHook is called with a client that is being made.
type clientHook func(*kgo.Client)

// OnNewClient is what the Kafka client calls.
func (h clientHook) OnNewClient(client *kgo.Client) { h(client) }
