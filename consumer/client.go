package consumer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pawl-go/pawl/internal/kgoask"
)

// Protocol is a protocol of consumer groups.
type Protocol uint8

const (
	// Classic is the zero value: the clients assign the partitions
	// (cooperative-sticky unless Config.Client says otherwise).
	Classic Protocol = iota

	// Consumer is the protocol of KIP-848: the broker assigns the partitions,
	// with its uniform assignor. It needs Kafka 4.0 or later; with older brokers
	// the client falls back to the classic protocol with the sticky assignor,
	// which stops the whole group during each rebalance.
	Consumer
)

// fetchMaxBytes limits the size of one fetch, as it is sent: usually compressed. It holds
// several batches of typical records, so the next batch has arrived when it is needed.
const fetchMaxBytes = 4 << 20

// clientOptions returns the options of the Kafka client: the worker's defaults, then the
// application's options, then those that the worker's promises need. The last option of
// each kind wins.
func (c Config) clientOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// The Java client's default. A newly assigned partition waits until the fetch in
		// flight returns, and a broker may hold that for this long.
		kgo.FetchMaxWait(500 * time.Millisecond),
		// One fetch of each broker waits in memory, decompressed, in addition to the
		// batches that are processed. kgo's default of 50 MiB would take several
		// hundred MiB there.
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.MaxDecompressBatchBytes(maxUnpackedBatch),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RebalanceTimeout(max(time.Minute, 2*c.RebalanceHold)),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
	}
	opts = append(opts, c.Client...)
	if c.Protocol == Consumer {
		// With any other balancer, the client would silently use the classic protocol.
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
		// Markers of transactions have offsets too. A worker that never saw them would
		// seem to lag behind the end of the log forever.
		kgo.KeepControlRecords(),
	)
}

// validateClient returns the errors of Config.Client. It finds most options that would break
// the worker by adding an option that conflicts with them.
func (c Config) validateClient() (problems []error) {
	opts := c.clientOptions()
	if err := kgo.ValidateOpts(opts...); err != nil {
		return []error{err}
	}
	with := func(probe ...kgo.Opt) bool {
		return kgo.ValidateOpts(append(slices.Clip(opts), probe...)...) == nil
	}
	if !with(kgo.ConsumeTopics("(")) {
		problems = append(problems, errors.New("ConsumeRegex makes Topics regular expressions; remove it and list the topics"))
	}
	if !with(kgo.AllowIdempotentProduceCancellation()) {
		problems = append(problems, errors.New("TransactionalID is for producers; remove it, because the worker does not commit in Kafka transactions"))
	}
	if adjustsOffsets(opts) {
		problems = append(problems, errors.New("AdjustFetchOffsetsFn is set, but the worker needs it to begin at its marks; "+
			"remove it, and to skip records, stop the workers and move the group with Kafka's tools"))
	}
	if isStatic, isServerSide := groupOptions(opts); isStatic && isServerSide {
		problems = append(problems, errors.New("InstanceID does not work with consumer.Consumer (KIP-848), "+
			"because a restarted worker would wait until its session times out; remove InstanceID, or use consumer.Classic without ServerSideBalancer"))
	}
	return problems
}

// groupOptions reports whether options set an instance ID, and whether they let the broker
// assign the partitions. The options must be valid.
func groupOptions(opts []kgo.Opt) (isStatic, isServerSide bool) {
	kgoask.Client(opts, func(client *kgo.Client) {
		isStatic = client.OptValue(kgo.InstanceID) != ""
		isServerSide = client.OptValue(kgo.ServerSideBalancer) == true
	})
	return isStatic, isServerSide
}

// adjustsOffsets reports whether options choose where partitions begin. The options must be
// valid.
func adjustsOffsets(opts []kgo.Opt) (adjusts bool) {
	kgoask.Client(opts, func(client *kgo.Client) {
		adjust, ok := client.OptValue(kgo.AdjustFetchOffsetsFn).(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error))
		adjusts = ok && adjust != nil
	})
	return adjusts
}

// decompressorOf returns the decompressor of a client with the given options.
func decompressorOf(opts []kgo.Opt) (d kgo.Decompressor) {
	kgoask.Client(opts, func(client *kgo.Client) {
		d, _ = client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	})
	return d
}
